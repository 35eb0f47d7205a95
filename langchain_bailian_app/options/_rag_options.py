"""`RagOptions`: which knowledge an application searches for an answer.

A plain dict is accepted wherever `RagOptions` is, and a string alone wherever a `StrList` is.
"""

import warnings
from typing import Annotated, Any, Self

from langchain_core.load import Serializable
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from langchain_bailian_app.options._session_files import SessionFileIds, check_session_file_ids


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


StrList = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list)]
"""A list of strings, none of them empty; one string alone is a list of one."""


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
