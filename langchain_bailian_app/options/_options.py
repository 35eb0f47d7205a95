"""What users write to steer an application: `RagOptions`, `BizParams` and `workflow_file`.

Both classes know how they look on the wire, and neither sends anything. A plain dict is accepted
wherever one of them is, and a string alone wherever a `StrList` is.
"""

from __future__ import annotations

import mimetypes
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from langchain_core.load import Serializable
from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from langchain_bailian_app.options._session_files import SessionFileIds, check_session_file_ids
from langchain_bailian_app.options._signed_urls import SignedUrl, redact


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


StrList = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list)]
"""A list of strings, none of them empty; one string alone is a list of one."""


def _wrap_bare_tokens(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        tool: token if isinstance(token, dict) else {"user_token": token}
        for tool, token in value.items()
    }


class RagOptions(Serializable):
    """Which knowledge an agent application searches for this answer (`parameters.rag_options`).

    A key that this version does not know is passed on to the service, with a warning.

    Raises:
        ValueError: A limit is exceeded, or an option stands without the one that it needs.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel, RagOptions

        options = RagOptions(pipeline_ids=["kb-id"], metadata_filter={"year": "2025"})
        ```

    Use:
        ```python
        model = BailianAppChatModel()  # or give them here, for all calls
        model.invoke("什么是归类？", rag_options=options)
        ```
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    pipeline_ids: StrList | None = Field(default=None, max_length=5)
    """Ids of knowledge bases, instead of those bound in the console.

    At most 5: the international API reference says that only the first five take effect; the rest
    would be dropped without a word, so more is an error here.
    """

    file_ids: StrList | None = Field(default=None, max_length=100)
    """Ids of documents to search in. Needs `pipeline_ids`.

    At most 100 by the international API reference; the Chinese one (2026-01) says 5. Which of the two
    the service applies is unverified.
    """

    metadata_filter: dict[str, Any] | None = None
    """Metadata that a document must have, by key. Unstructured documents only.

    Needs `pipeline_ids`: without them the service ignores it (API reference, 2026-01).
    """

    tags: StrList | None = None
    """Tags that a document must have, a list or a single one. Unstructured documents only.

    The API reference has a list, one of its examples a bare string; a list is sent. Whether all or any
    of several tags must match is unverified.
    """

    structured_filter: dict[str, Any] | None = None
    """Column values that a row must have, texts or numbers. Structured knowledge bases only."""

    session_file_ids: SessionFileIds | None = None
    """Files uploaded for this conversation: `SessionFile`s of `BailianFiles`, or their ids.

    At most 10, each in the same workspace and ready (`FILE_IS_READY`), else the call fails (official
    guide). How long they last is disputed: the guide says up to 7 days, the page on files usually 24
    hours.
    """

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        for name in ("file_ids", "metadata_filter"):
            if getattr(self, name) and not self.pipeline_ids:
                message = f"`{name}` takes effect only with `pipeline_ids`: give those too"
                raise ValueError(message)
        check_session_file_ids(self.session_file_ids or ())
        if self.model_extra:
            message = f"RagOptions does not know {sorted(self.model_extra)}: passed on as they are"
            warnings.warn(message, stacklevel=2)
        return self

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether LangChain may dump and load this: yes."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Keys that are no fields: LangChain's dump would leave them out."""
        return dict(self.model_extra or {})

    def to_wire(self) -> dict[str, Any]:
        """Return the object that goes into the request."""
        return {name: value for name, value in self if value is not None}


class BizParams(Serializable):
    """Values for the variables and plugins of an application (`input.biz_params`).

    For a workflow, give its start variables by name: `BizParams(city="杭州")`. The three fields below
    are for agents. Tokens reach the wire and nothing else: no `repr`, dump, pickle, log or trace.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel, BizParams

        params = BizParams(user_prompt_params={"city": "杭州"}, user_defined_tokens={"tool": "token"})
        variables = BizParams(city="杭州", days=3)  # of a workflow
        ```

    Use:
        ```python
        model = BailianAppChatModel()  # or give them here, for all calls
        model.invoke("天气如何？", biz_params=params)
        ```
    """

    # An error message would otherwise show the tokens.
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    user_prompt_params: dict[str, Any] | None = Field(default=None, max_length=10)
    """Values of the prompt's variables, by name, at most 10 (API reference of 2026-01)."""

    user_defined_params: dict[str, Any] | None = Field(default=None, max_length=10)
    """Parameters of plugins, by tool id, at most 10 (as above)."""

    user_defined_tokens: Annotated[
        dict[str, dict[str, SecretStr]] | None, BeforeValidator(_wrap_bare_tokens)
    ] = Field(default=None, exclude=True, max_length=10)
    """User tokens of plugins, by tool id, at most 10 (as above): the token, or `{"user_token": …}`."""

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
        message = f"`user_defined_tokens` of {missing} are not part of a dump: set them again"
        warnings.warn(message, stacklevel=2)
        remaining = {tool: token for tool, token in tokens.items() if token is not None}
        return values | {"user_defined_tokens": remaining or None}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether LangChain may dump and load this: yes, without the tokens."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Variables, without signatures of files, and which tokens the dump leaves out."""
        attributes: dict[str, Any] = redact(dict(self.model_extra or {}))
        if self.user_defined_tokens:
            attributes["user_defined_tokens"] = dict.fromkeys(self.user_defined_tokens)
        return attributes

    def __getstate__(self) -> dict[Any, Any]:
        """Refuse to be pickled with tokens inside, and leave signatures of files out."""
        if self.user_defined_tokens:
            message = "`user_defined_tokens` are secrets and are not pickled: give them per call"
            raise TypeError(message)
        state = super().__getstate__()
        return state | {"__pydantic_extra__": redact(state["__pydantic_extra__"])}

    def to_wire(self) -> dict[str, Any]:
        """Return the object that goes into the request, tokens in the clear."""
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
    """Return the value of a workflow's File variable; a list of these is that of an Array<File>.

    What is not given is read from the end of the URL's path, since the keys become required where the
    workflow refers to them (official guide).

    Args:
        url: Where the service can read the file.
        name: Its name.
        kind: Its type in the workflow.
        mime_type: Its MIME type.
        source: Where it comes from; the guide has only this value.

    Raises:
        ValueError: It is no URL.

    Example:
        ```python
        BizParams(report=workflow_file("https://example.com/report.pdf"))
        ```
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https", "oss"} or not parts.netloc:
        message = f"{url[:60]!r} is no URL that a workflow could read"
        raise ValueError(message)
    name = name or unquote(PurePosixPath(parts.path).name) or None
    mime_type = mime_type or (mimetypes.guess_type(name)[0] if name else None)
    main_type = (mime_type or "").partition("/")[0]
    file = {
        "url": SignedUrl(url),
        "name": name,
        "type": kind or (main_type if main_type in {"image", "audio", "video"} else "document"),
        "source": source,
        "mimeType": mime_type,
    }
    return {key: value for key, value in file.items() if value is not None}
