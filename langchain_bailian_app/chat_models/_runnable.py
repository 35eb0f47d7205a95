"""Public methods of the chat model, which read the config of a call and wrap its secrets.

LangChain does not pass the config of a direct call to a model's hooks, and it copies keyword arguments
into callbacks before the hooks run. So these methods read ids from the config and pass them on as
keyword arguments, and they wrap arguments that contain secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.load import dumpd
from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import Field, PrivateAttr

from langchain_bailian_app._request.fields import (
    SIGNED_URL_FIELDS,
    CompletionFields,
    merge_options,
    wrap_secrets,
)
from langchain_bailian_app.chat_models._shown_warnings import ShownWarnings
from langchain_bailian_app.chat_models._wrappers import WrapperMethods
from langchain_bailian_app.options._biz_params import BizParams
from langchain_bailian_app.options._rag_options import RagOptions
from langchain_bailian_app.options._signed_urls import redact_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatResult

_SESSION_ID_KEY = "bailian_session_id"  # in `configurable`
_USER_ID_KEY = "user_id"  # in `configurable`
_CACHE_BYPASS_FIELDS = ("history", "session_id", "biz_params", "image_list", "file_list")


def drop_session(config: RunnableConfig) -> RunnableConfig:
    """Return the config for a nested call, without the session of the outer call."""
    configurable = config.get("configurable") or {}
    inner_configurable = {key: value for key, value in configurable.items() if key != _SESSION_ID_KEY}
    return {**config, "configurable": inner_configurable}


def memory_id_for_user(
    user_id: Any, memory_ids: Mapping[str, str] | Callable[[str], str | None]
) -> str:
    """Return the id of a user's long-term memory.

    Raises:
        ValueError: The user id is missing, or the user has no memory.
    """
    if user_id is None:
        message = (
            "missing user id, required by `memory_ids`: pass `configurable.user_id` in the config, or "
            "pass `memory_id`; `generate` and its variants do not read the config"
        )
        raise ValueError(message)
    lookup = memory_ids if callable(memory_ids) else memory_ids.get
    memory_id = lookup(str(user_id))
    if not memory_id:
        message = f"`memory_ids` has no memory for user {str(user_id)!r}: create one and add its id"
        raise ValueError(message)
    return memory_id


def _convert_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with dicts converted to the classes of options."""
    kwargs = wrap_secrets(kwargs)
    if isinstance(rag_options := kwargs.get("rag_options"), dict):
        # A warning can point at the caller only here: LangChain runs the hooks in another task.
        kwargs = kwargs | {"rag_options": RagOptions.model_validate(rag_options)}
    return kwargs


class RunnableMethods(WrapperMethods, CompletionFields, BaseChatModel):
    """Overrides of the public methods that call the model; `batch` and chains use them too."""

    memory_ids: Mapping[str, str] | Callable[[str], str | None] | None = Field(
        default=None, exclude=True, repr=False
    )
    """Long-term memory of each user: a mapping of user ids to memory ids, or a function that returns
    the memory id for a user id.

    The user id is `configurable.user_id` in the config of a call. If it is missing, or if the user has
    no memory, the call raises ValueError; without this check, the call would read and write the memory
    that all users share. If `memory_id` is set, it is used instead. The function runs in the caller's
    thread; for asynchronous calls, this is the thread of the event loop.
    """

    _serialized_dump: dict[str, Any] | None = PrivateAttr(default=None)
    _shown_warnings: ShownWarnings = PrivateAttr(default=ShownWarnings())  # copied deeply

    @property
    def _serialized(self) -> dict[str, Any]:
        # LangChain uses `cached_property`, which adds an entry to `__dict__`. Another thread may be
        # iterating over `__dict__` at that time, in its own first call. Up to Python 3.11,
        # `cached_property` also holds a lock, so only one thread at a time computes the value.
        if self._serialized_dump is None:
            self._serialized_dump = cast("dict[str, Any]", dumpd(self))
        return self._serialized_dump

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        # Error trackers record variables, so no variable keeps the bare tokens.
        kwargs = self._merge_config(kwargs, config)
        return super().invoke(input, config, stop=stop, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        kwargs = self._merge_config(kwargs, config)
        return await super().ainvoke(input, config, stop=stop, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        return super().stream(input, config, stop=stop, **self._merge_config(kwargs, config))

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        return super().astream(input, config, stop=stop, **self._merge_config(kwargs, config))

    if not TYPE_CHECKING:  # the overloads of the base class are more precise than these signatures

        def stream_events(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return super().stream_events(input, config, **self._merge_config(kwargs, config))

        def astream_events(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return super().astream_events(input, config, **self._merge_config(kwargs, config))

        def bind(self, **kwargs: Any) -> Any:
            kwargs = _convert_options(kwargs)
            return super(RunnableMethods, self._copy_with_options(kwargs)).bind(**kwargs)

    def _copy_with_options(self, kwargs: dict[str, Any]) -> Self:
        """Return a copy that has the options among the arguments as fields.

        A binding has both. Some programs call other methods of the model in it, such as `generate`, or
        take the model out to bind something else, as `create_react_agent` of LangGraph does.
        """
        fields = CompletionFields.model_fields
        given = {name: value for name, value in kwargs.items() if name in fields and value is not None}
        if not given:
            return self
        options = merge_options(CompletionFields, self, given)
        copied = self.model_copy(update={name: getattr(options, name) for name in given})
        copied._serialized_dump = None  # noqa: SLF001  # a copy of this object
        return copied

    def _merge_config(self, kwargs: dict[str, Any], config: RunnableConfig | None) -> dict[str, Any]:
        kwargs = _convert_options(kwargs)
        config_keys = {"session_id": _SESSION_ID_KEY}
        if (kwargs.get("history") or self.history) == "thread":
            config_keys["session_key"] = "thread_id"
        configurable = ensure_config(config).get("configurable") or {}
        if configurable.get("thread_id") is not None:
            self._shown_warnings.serves_threads = True  # as an argument, it would be part of cache keys
        for name, key in config_keys.items():
            if kwargs.get(name) is None and configurable.get(key) is not None:
                kwargs = kwargs | {name: str(configurable[key])}  # thread ids may be numbers
        if self.memory_ids is not None and (kwargs.get("memory_id") or self.memory_id) is None:
            memory_id = memory_id_for_user(configurable.get(_USER_ID_KEY), self.memory_ids)
            kwargs = kwargs | {"memory_id": memory_id}
        return kwargs

    def _generate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        model = self._bypass_cache_if_unsafe(kwargs)
        return super(RunnableMethods, model)._generate_with_cache(*args, **kwargs)

    async def _agenerate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        model = self._bypass_cache_if_unsafe(kwargs)
        return await super(RunnableMethods, model)._agenerate_with_cache(*args, **kwargs)

    def _bypass_cache_if_unsafe(self, kwargs: dict[str, Any]) -> Self:
        """Return this model, or a copy without LangChain's cache if a cached answer could be wrong.

        A cached answer would add no turn to a session. The cache key contains neither user tokens nor
        signed URLs, so one user could get another user's answer.
        """
        values = {name: kwargs.get(name) or getattr(self, name) for name in _CACHE_BYPASS_FIELDS}
        biz_params = values["biz_params"]
        user_tokens = isinstance(biz_params, BizParams) and biz_params.user_defined_tokens
        uses_session = values["history"] != "messages" or values["session_id"]
        unsafe = uses_session or user_tokens or values["image_list"] or values["file_list"]
        if self.cache is False or not unsafe:
            return self
        return self.model_copy(update={"cache": False})

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        # Direct calls to `generate` bypass the methods above.
        redacted = wrap_secrets(kwargs)
        for name in SIGNED_URL_FIELDS:
            if urls := kwargs.get(name):
                urls = [urls] if isinstance(urls, str) else urls
                redacted = redacted | {name: [redact_url(url) for url in urls]}
        return super()._get_invocation_params(stop=stop, **redacted)
