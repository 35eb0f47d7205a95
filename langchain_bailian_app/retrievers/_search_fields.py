"""The fields that say what to search for documents; each may also be given per call.

There are two ways to search: ask an application, or one of its knowledge bases directly. What one way
does not know is an error, before anything is sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from langchain_core.messages import convert_to_messages
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from langchain_bailian_app._request.body import turns_from_messages
from langchain_bailian_app._request.fields import CommonCompletionFields, merge_options
from langchain_bailian_app._settings.connection import Id

DIRECT_FIELDS = (
    "dense_similarity_top_k",
    "sparse_similarity_top_k",
    "enable_rewrite",
    "query_history",
    "enable_reranking",
    "rerank_top_n",
    "rerank_min_score",
    "search_filters",
)
"""Fields of a direct search; `_queries` sends each of them under its own name."""

# Also of use without an application: merged into the body of a direct search.
_SHARED_FIELDS = {"extra_parameters"}


def _as_query_history(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    try:
        turns = turns_from_messages(convert_to_messages(value))
    except (KeyError, NotImplementedError) as exc:
        message = f"these are no messages: {exc}"
        raise ValueError(message) from exc
    if not all(turn.text.strip() for turn in turns):
        message = "a message without a text tells a search nothing"
        raise ValueError(message)
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def _as_filter_groups(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class SearchFields(CommonCompletionFields):
    """What to search, and which of the passages found to return."""

    model_config = ConfigDict(title="BailianRetriever")  # what errors of a call name

    k: int | None = Field(default=None, ge=1)
    """How many documents to return at most. Default: all that the service finds.

    An application is not told: its console says how many passages it looks for. A knowledge base is, as
    `rerank_top_n`, unless that is given.
    """

    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """Leave out documents with a lower score, from 0 to 1. Those whose score is not known stay:
    references, where the application tells of no retrieval step."""

    wait_for_answer: bool = False
    """Read the whole answer of the application, rather than hang up when the documents have come.

    Finds what later searches of the same answer find and what only its sources name, and adds `cited`
    to the metadata: whether the answer rests on the document.
    """

    pipeline_id: Id | None = None
    """Id of a knowledge base to search directly, without an application and without an answer.

    The official integrations for Spring AI and LlamaIndex use this route; there is no reference page
    of it, and the limits below are those of the OpenAPI `Retrieve`.
    """

    pipeline_name: str | None = Field(default=None, min_length=1)
    """Name of a knowledge base, instead of its id, which is then asked for, with a request of its own,
    and remembered."""

    dense_similarity_top_k: int | None = Field(default=None, ge=0, le=100)
    """Candidates by meaning, at most 100 (OpenAPI reference). Default of the service: 100."""

    sparse_similarity_top_k: int | None = Field(default=None, ge=0, le=100)
    """Candidates by words, at most 100 (OpenAPI reference: with those by meaning at most 200)."""

    enable_rewrite: bool | None = None
    """Rewrite the query in the light of `query_history`."""

    query_history: Annotated[list[dict[str, str]], BeforeValidator(_as_query_history)] | None = None
    """What was said before the query: messages, or `{"role": …, "content": …}`."""

    enable_reranking: bool | None = None
    """Let a model put the candidates in order. Default of the service: yes."""

    rerank_top_n: int | None = Field(default=None, ge=1, le=20)
    """How many passages the service returns, at most 20 (OpenAPI reference). Default there: 5."""

    rerank_min_score: float | None = Field(default=None, ge=0, le=1)
    """Lowest score that the service returns, from 0 to 1."""

    search_filters: Annotated[list[dict[str, Any]], BeforeValidator(_as_filter_groups)] | None = None
    """Conditions on metadata or columns, for instance `{"year": {"gte": 2024}}`; of several groups all
    must hold. The official page "SearchFilters" has the operators."""

    @property
    def direct(self) -> bool:
        """Whether a knowledge base is searched directly."""
        return self.pipeline_id is not None or self.pipeline_name is not None

    def with_overrides(self, overrides: dict[str, Any]) -> SearchFields:
        """Return these fields with the keywords of a call laid over them; None changes nothing.

        Raises:
            TypeError: A keyword is no field; the message names the nearest one.
        """
        pipeline_fields = {"pipeline_id", "pipeline_name"}
        ignored = {"verbose"}  # LangChain's own
        overrides = {name: value for name, value in overrides.items() if name not in ignored}
        if not any(overrides.get(name) is not None for name in pipeline_fields):
            return merge_options(SearchFields, self, overrides)
        # What goes along with a question to an application is not meant for a direct search.
        kept_fields = (
            set(SearchFields.model_fields) - pipeline_fields - set(CommonCompletionFields.model_fields)
            | _SHARED_FIELDS
        )
        values = {name: getattr(self, name) for name in kept_fields - {"wait_for_answer"}}
        return merge_options(SearchFields, SearchFields.model_construct(**values), overrides)

    @model_validator(mode="after")
    def _check_search_mode(self) -> Self:
        if self.pipeline_id is not None and self.pipeline_name is not None:
            message = "give `pipeline_id` or `pipeline_name`, not both"
            raise ValueError(message)
        if self.direct:
            inapplicable = {*CommonCompletionFields.model_fields, "wait_for_answer"} - _SHARED_FIELDS
            reason = "is for applications, but a knowledge base is searched directly"
        else:
            inapplicable = {*DIRECT_FIELDS}
            reason = "is for a direct search: give `pipeline_id` too"
        for name in sorted(inapplicable):
            if getattr(self, name) != SearchFields.model_fields[name].default:
                message = f"`{name}` {reason}"
                raise ValueError(message)
        return self
