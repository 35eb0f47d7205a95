"""Common base of the model, the retriever and others: access to the service, protection of secrets.

Modules that use dashscope are imported at the first call, because dashscope takes longer to import than
everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ConfigDict, PrivateAttr, model_validator

from langchain_bailian_app._request.fields import SIGNED_URL_FIELDS, format_suggestion
from langchain_bailian_app._settings.connection import ConnectionFields

if TYPE_CHECKING:
    from langchain_bailian_app._transport.credentials import Connection
    from langchain_bailian_app._transport.transport import Transport

_CLIENT_FIELDS = ("http_client", "http_async_client")


class ServiceClientMixin(ConnectionFields):
    """Base of the classes that call the service."""

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        # Otherwise, error messages would contain the input values, including keys and tokens.
        hide_input_in_errors=True,
    )

    _not_deepcopied: ClassVar[tuple[str, ...]] = ()
    """Fields that hold connections or locks and cannot be copied, in addition to the HTTP clients."""

    _cached_connection: tuple[Any, Any] | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Call this hook of the next base class, in which LangChain records its versions.

        Without this method, pydantic adds one that only sets the private attributes above.
        """
        super().model_post_init(context)

    def _create_transport(self, *, requires_workspace_host: bool = False) -> Transport:
        from langchain_bailian_app._transport.transport import Transport

        return Transport(
            self, self._resolve_connection(requires_workspace_host=requires_workspace_host)
        )

    def _resolve_connection(self, *, requires_workspace_host: bool = False) -> Connection:
        from langchain_bailian_app._transport.credentials import resolve_connection

        settings_key = (
            self.base_url,
            self.workspace,
            self.region,
            self.gateway,
            self.allow_insecure_http,
            self.api_key,
            requires_workspace_host,
        )
        if self._cached_connection is None or self._cached_connection[0] != settings_key:
            connection = resolve_connection(self, requires_workspace_host=requires_workspace_host)
            self._cached_connection = settings_key, connection
        cached: Connection = self._cached_connection[1]
        return cached

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Fields that LangChain replaces with the name of an environment variable in a dump."""
        return {"api_key": "DASHSCOPE_API_KEY"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: LangChain can dump and load this object."""
        return True

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state without secrets or connections; a new process supplies its own."""
        state = super().__getstate__()
        secret_fields = {"api_key", *_CLIENT_FIELDS, *SIGNED_URL_FIELDS} & state["__dict__"].keys()
        fields = state["__dict__"] | dict.fromkeys(secret_fields)
        return state | {"__dict__": fields, "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        # Private attributes are caches. They are not pickled, because versions use different names.
        attributes = self.__private_attributes__.items()
        private = {name: attribute.get_default() for name, attribute in attributes}
        # An object that an older version has pickled lacks the fields added since.
        missing = type(self).model_fields.keys() - state["__dict__"].keys()
        defaults = {
            name: type(self).model_fields[name].get_default(call_default_factory=True)
            for name in missing
        }
        fields = defaults | state["__dict__"]
        super().__setstate__(state | {"__dict__": fields, "__pydantic_private__": private})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a deep copy that shares the fields that cannot be copied."""
        memo = {} if memo is None else memo
        for name in (*_CLIENT_FIELDS, *self._not_deepcopied):
            memo[id(getattr(self, name))] = getattr(self, name)
        return super().__deepcopy__(memo)

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_fields(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name not in cls.model_fields:
                message = f"unknown field `{name}`{format_suggestion(name, cls.model_fields)}"
                raise ValueError(message)
        return values
