"""Values for the variables and plugins of an application: `BizParams` and `workflow_file`.

You can pass a plain dict instead of `BizParams`.
"""

import mimetypes
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from langchain_core.load import Serializable
from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from langchain_bailian_app.options._caller_warnings import warn_caller
from langchain_bailian_app.options._json_conversion import to_json_value
from langchain_bailian_app.options._session_files import MIME_TYPE_BY_SUFFIX, suffix_from_name
from langchain_bailian_app.options._signed_urls import SignedUrl, redact, redact_url


def _wrap_bare_tokens(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        tool: token if isinstance(token, dict) else {"user_token": token}
        for tool, token in value.items()
    }


class BizParams(Serializable):
    """Values for the variables and plugins of an application (`input.biz_params`).

    For a workflow, pass its start variables by name: `BizParams(city="杭州")`. The three fields below
    are for agents. Tokens appear only in the request, never in a `repr`, dump, pickle, log or trace.

    Values are those of JSON. A `Decimal`, a date or time, and a `UUID` become the text that pydantic
    writes. Scalars and arrays of numpy become Python's, and a `Timestamp` of pandas becomes a datetime.
    Nanoseconds are dropped, with a warning.

    Raises:
        ValueError: A value cannot be sent: NaN, infinity, a DataFrame, a masked array, or another type.
            The message contains the name of the variable. There are more than 10 entries in one of the
            fields.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel, BizParams

        params = BizParams(user_prompt_params={"city": "杭州"}, user_defined_tokens={"tool": "token"})
        variables = BizParams(city="杭州", days=3)  # for a workflow
        ```

    Use:
        ```python
        model = BailianAppChatModel()  # or pass `biz_params` here, for all calls
        model.invoke("天气如何？", biz_params=params)
        ```
    """

    # Validation errors would otherwise show the tokens.
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    user_prompt_params: dict[str, Any] | None = Field(default=None, max_length=10)
    """Values of the prompt's variables, by name, at most 10 (API reference of 2026-01)."""

    user_defined_params: dict[str, Any] | None = Field(default=None, max_length=10)
    """Parameters for plugins, by tool id, at most 10 (same source)."""

    user_defined_tokens: Annotated[
        dict[str, dict[str, SecretStr]] | None, BeforeValidator(_wrap_bare_tokens)
    ] = Field(default=None, exclude=True, max_length=10)
    """User tokens for plugins, by tool id, at most 10 (same source): token or `{"user_token": …}`."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            user_prompt_params: dict[str, Any] | None = None,
            user_defined_params: dict[str, Any] | None = None,
            user_defined_tokens: dict[str, Any] | None = None,
            **variables: Any,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _warn_about_missing_tokens(cls, values: Any) -> Any:
        tokens = values.get("user_defined_tokens") if isinstance(values, dict) else None
        if not isinstance(tokens, dict) or None not in tokens.values():
            return values
        missing = sorted(tool for tool, token in tokens.items() if token is None)
        message = f"the `user_defined_tokens` for {missing} were omitted from the dump: set them again"
        warn_caller(message)
        remaining = {tool: token for tool, token in tokens.items() if token is not None}
        return values | {"user_defined_tokens": remaining or None}

    @model_validator(mode="before")
    @classmethod
    def _convert_values(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {
            name: value if name == "user_defined_tokens" else to_json_value(value, str(name))
            for name, value in values.items()
        }

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: LangChain can dump and load this class, without the tokens."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Variables with redacted file URLs, and the tool ids whose tokens a dump omits."""
        attributes: dict[str, Any] = redact(dict(self.model_extra or {}))
        if self.user_defined_tokens:
            attributes["user_defined_tokens"] = dict.fromkeys(self.user_defined_tokens)
        return attributes

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state with redacted file URLs; raise a `TypeError` if it contains tokens."""
        if self.user_defined_tokens:
            message = "cannot pickle `user_defined_tokens`: they are secrets; pass them with each call"
            raise TypeError(message)
        state = super().__getstate__()
        return state | {"__pydantic_extra__": redact(state["__pydantic_extra__"])}

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object for the request, with tokens in plain text."""
        wire = {name: value for name, value in self if value is not None}
        if self.user_defined_tokens:
            wire["user_defined_tokens"] = {
                tool: {name: token.get_secret_value() for name, token in tokens.items()}
                for tool, tokens in self.user_defined_tokens.items()
            }
        return wire


def workflow_file(
    url: str,
    *,
    name: str | None = None,
    kind: Literal["image", "document", "audio", "video", "custom"] | None = None,
    mime_type: str | None = None,
    source: str = "localFile",
) -> dict[str, Any]:
    """Return a value for a File variable of a workflow. For an Array<File>, pass a list of values.

    Missing arguments are derived from the last segment of the URL's path, because a key is required if
    the workflow refers to it (user guide).

    Args:
        url: URL from which the service can read the file: `http`, `https` or `oss`.
        name: Name of the file. Default: the last segment of the URL's path.
        kind: Type of the file in the workflow. Default: derived from the MIME type.
        mime_type: MIME type of the file. Default: guessed from the name.
        source: Source of the file. The user guide documents only the default.

    Raises:
        ValueError: `url` is not an http, https or oss URL.

    Example:
        ```python
        BizParams(report=workflow_file("https://example.com/report.pdf"))
        ```
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https", "oss"} or not parts.netloc:
        message = f"invalid `url`: expected an http, https or oss URL, got {redact_url(url)[:60]!r}"
        raise ValueError(message)
    name = name or unquote(PurePosixPath(parts.path).name) or None
    if mime_type is None and name:
        # The table of the operating system may be empty.
        known_type = MIME_TYPE_BY_SUFFIX.get(suffix_from_name(name))
        mime_type = known_type or mimetypes.guess_type(name)[0]
    main_type = (mime_type or "").partition("/")[0]
    file = {
        "url": SignedUrl(url),
        "name": name,
        "type": kind or (main_type if main_type in {"image", "audio", "video"} else "document"),
        "source": source,
        "mimeType": mime_type,
    }
    return {key: value for key, value in file.items() if value is not None}
