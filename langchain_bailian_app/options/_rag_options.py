"""`RagOptions`: options for the knowledge search of an application.

You can pass a plain dict instead of `RagOptions`, and a single string instead of a `StrList`.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Self

from langchain_core.load import Serializable
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from langchain_bailian_app.options._caller_warnings import warn_caller
from langchain_bailian_app.options._json_conversion import to_json_value
from langchain_bailian_app.options._session_files import SessionFileIds, check_session_file_ids


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


StrList = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list)]
"""A list of non-empty strings; a single string becomes a list of one."""

IdList = Annotated[
    list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]],
    BeforeValidator(_as_list),
]
"""A list of ids, without the white space around them; a single id becomes a list of one."""

# Similarity from which an unknown name is taken for a misspelled one. `tag` has 0.86, and `image_ids`,
# which may be a new option, has 0.8.
_MIN_SIMILARITY = 0.85


def _find_intended_name(name: str, known_names: Iterable[str]) -> str | None:
    """Return the known name that an unknown one misspells, or None if it may be a new option."""
    plain_names = {_simplify(known): known for known in known_names}
    if intended_name := plain_names.get(_simplify(name)):
        return intended_name
    if any(name.startswith(f"{known}_") for known in plain_names.values()):
        return None
    matches = difflib.get_close_matches(_simplify(name), plain_names, n=1, cutoff=_MIN_SIMILARITY)
    return plain_names[matches[0]] if matches else None


def _simplify(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


class RagOptions(Serializable):
    """Options for the knowledge search of an agent application (`parameters.rag_options`).

    Unknown keys are sent to the service unchanged, with a warning. A key that is almost the name of an
    option is an error.

    Raises:
        ValueError: A limit is exceeded, a name is misspelled, or an option is set without another
            option that it requires.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel, RagOptions

        options = RagOptions(pipeline_ids=["kb-id"], metadata_filter={"year": "2025"})
        ```

    Use:
        ```python
        model = BailianAppChatModel()  # or pass `rag_options` here, for all calls
        model.invoke("什么是归类？", rag_options=options)
        ```
    """

    # Validation errors would otherwise show the values of filters.
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    pipeline_ids: IdList | None = Field(default=None, max_length=5)
    """Ids of the knowledge bases to search, instead of those bound in the console.

    At most 5. According to the international API reference, only the first five take effect. More than
    5 are an error here, because the service would silently drop the rest.
    """

    file_ids: IdList | None = Field(default=None, max_length=100)
    """Ids of documents to search. Requires `pipeline_ids`.

    At most 100 according to the international API reference, 5 according to the Chinese one (2026-01).
    It is unverified which limit the service applies.
    """

    metadata_filter: dict[str, Any] | None = None
    """Metadata that a document must have, by key. Unstructured documents only.

    Requires `pipeline_ids`: without them, the service ignores the filter (API reference, 2026-01).
    """

    tags: StrList | None = None
    """Tags that a document must have: a list or a single tag. Unstructured documents only.

    The API reference specifies a list, although one of its examples contains a bare string. This
    class always sends a list. It is unverified whether all tags or any of them must match.
    """

    structured_filter: dict[str, Any] | None = None
    """Column values that a row must have, strings or numbers. Structured knowledge bases only."""

    session_file_ids: SessionFileIds | None = None
    """Files uploaded for this conversation: `SessionFile`s of `BailianFiles`, or their ids.

    At most 10, all in the same workspace and ready; otherwise the call fails (user guide). The
    documentation disagrees on how long these files last: up to 7 days according to the user guide,
    usually 24 hours according to the file page.
    """

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        for name in ("file_ids", "metadata_filter"):
            if getattr(self, name) and not self.pipeline_ids:
                message = f"`{name}` takes effect only with `pipeline_ids`: pass both"
                raise ValueError(message)
        check_session_file_ids(self.session_file_ids or ())
        return self

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        # Runs only when options are created: `values` is an instance if a model is called with them.
        names = [name for name in values if isinstance(name, str)] if isinstance(values, dict) else []
        unknown_names = [name for name in names if name not in cls.model_fields]
        for name in unknown_names:
            if intended_name := _find_intended_name(name, cls.model_fields):
                message = f"unknown option `{name}`; did you mean `{intended_name}`?"
                raise ValueError(message)
        if unknown_names:
            warn_caller(f"unknown RagOptions {sorted(unknown_names)}: they are sent unchanged")
        return values

    @field_validator("metadata_filter", "structured_filter", mode="before")
    @classmethod
    def _convert_values(cls, value: Any, info: ValidationInfo) -> Any:
        return to_json_value(value, str(info.field_name))

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: LangChain can dump and load this class."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Unknown keys, which a LangChain dump would otherwise omit."""
        return dict(self.model_extra or {})

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object for the request."""
        return {name: value for name, value in self if value is not None}
