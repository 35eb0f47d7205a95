"""Fields of the retriever that define a search; each can also be passed per call.

A search runs through an application, or directly in a knowledge base. A field that does not apply to
the kind of search is an error, which is raised before anything is sent.
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
"""Fields of a direct search; `_queries` sends each of them under the same name."""

# These also apply to a direct search: they are merged into its body.
_SHARED_FIELDS = {"extra_parameters"}


def _as_query_history(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    try:
        turns = turns_from_messages(convert_to_messages(value))
    except (KeyError, NotImplementedError) as exc:
        message = f"invalid `query_history`: expected messages: {exc}"
        raise ValueError(message) from exc
    if any((turn.images or turn.files) and not turn.has_text for turn in turns):
        message = "`query_history` contains a message with an image or a file, but without text"
        raise ValueError(message)
    return [{"role": turn.role, "content": turn.text} for turn in turns if turn.has_text]


def _as_filter_groups(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class SearchFields(CommonCompletionFields):
    """Fields that define a search and select the passages to return."""

    model_config = ConfigDict(title="BailianRetriever")  # the name in validation errors of a call

    k: int | None = Field(default=None, ge=1)
    """Maximum number of documents to return. Default: all that the service finds.

    It is not sent to an application, whose console sets the number of passages to retrieve. In a direct
    search, it is sent as `rerank_top_n` (at most 20) unless `rerank_top_n` is set.
    """

    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """Minimum score of documents, from 0 to 1. Documents without a score are kept. These include the
    references that are returned if the application reports no retrieval step."""

    wait_for_answer: bool = False
    """Whether to read the complete answer of the application. If False, the retriever closes the
    connection after the first retrieval step.

    If True, the documents also include those of later searches, and those that appear only as sources
    of the answer. Their metadata contains the field `cited`, which is True if the answer cites the
    document.
    """

    pipeline_id: Id | None = None
    """Id of a knowledge base to search directly, without an application and without an answer.

    The official integrations for Spring AI and LlamaIndex use this route. The route has no reference
    page, so the limits of the fields below are those of the OpenAPI operation `Retrieve`.
    """

    pipeline_name: str | None = Field(default=None, min_length=1)
    """Name of a knowledge base to search directly, instead of its id. The retriever looks up the id
    with a separate request and caches it."""

    dense_similarity_top_k: int | None = Field(default=None, ge=0, le=100)
    """Number of candidates from the semantic (dense vector) search, at most 100 (OpenAPI reference).
    Default of the service: 100."""

    sparse_similarity_top_k: int | None = Field(default=None, ge=0, le=100)
    """Number of candidates from the keyword (sparse vector) search, at most 100 (OpenAPI reference: at
    most 200 together with the semantic candidates)."""

    enable_rewrite: bool | None = None
    """Whether to rewrite the query based on `query_history`."""

    query_history: Annotated[list[dict[str, str]], BeforeValidator(_as_query_history)] | None = None
    """Messages before the query, as LangChain messages or `{"role": …, "content": …}`."""

    enable_reranking: bool | None = None
    """Whether a model reranks the candidates. Default of the service: True."""

    rerank_top_n: int | None = Field(default=None, ge=1, le=20)
    """Number of passages that the service returns, at most 20 (OpenAPI reference). Default of the
    service: 5."""

    rerank_min_score: float | None = Field(default=None, ge=0, le=1)
    """Minimum score of the passages that the service returns, from 0 to 1."""

    search_filters: Annotated[list[dict[str, Any]], BeforeValidator(_as_filter_groups)] | None = None
    """Conditions on metadata or columns, for instance `{"year": {"gte": 2024}}`. A passage must match
    all groups. The official page "SearchFilters" lists the operators."""

    @property
    def direct(self) -> bool:
        """Whether a knowledge base is searched directly."""
        return self.pipeline_id is not None or self.pipeline_name is not None

    def with_overrides(self, overrides: dict[str, Any]) -> SearchFields:
        """Return these fields with the options of a call applied; None leaves a field unchanged.

        Raises:
            TypeError: An option is not a field; the message suggests the closest field.
        """
        pipeline_fields = {"pipeline_id", "pipeline_name"}
        ignored = {"verbose"}  # LangChain's own
        overrides = {name: value for name, value in overrides.items() if name not in ignored}
        if not any(overrides.get(name) is not None for name in pipeline_fields):
            return merge_options(SearchFields, self, overrides)
        # The settings for requests to an application do not apply to a direct search.
        kept_fields = (
            set(SearchFields.model_fields) - pipeline_fields - set(CommonCompletionFields.model_fields)
            | _SHARED_FIELDS
        )
        values = {name: getattr(self, name) for name in kept_fields - {"wait_for_answer"}}
        return merge_options(SearchFields, SearchFields.model_construct(**values), overrides)

    @model_validator(mode="after")
    def _check_search_mode(self) -> Self:
        if self.pipeline_id is not None and self.pipeline_name is not None:
            message = "cannot use `pipeline_id` together with `pipeline_name`: pass one of them"
            raise ValueError(message)
        if self.direct:
            inapplicable = {*CommonCompletionFields.model_fields, "wait_for_answer"} - _SHARED_FIELDS
            reason = "in a direct search of a knowledge base: it applies to applications; remove it"
        else:
            inapplicable = {*DIRECT_FIELDS}
            reason = "without a knowledge base: it applies to direct searches; pass `pipeline_id` too"
        for name in sorted(inapplicable):
            if getattr(self, name) != SearchFields.model_fields[name].default:
                message = f"cannot use `{name}` {reason}"
                raise ValueError(message)
        return self
