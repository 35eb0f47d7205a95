"""Fields of the retriever that define a search; each can also be passed per call.

A search runs through an application, in a search service, or directly in a knowledge base, over one of
two routes. A field that does not apply to the kind of search is an error, which is raised before
anything is sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from langchain_core.messages import convert_to_messages
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from langchain_bailian_app._request.body import turns_from_messages
from langchain_bailian_app._request.fields import CommonCompletionFields, merge_options
from langchain_bailian_app._request.knowledge_request import check_search_configs
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

INDEX_FIELDS = (
    "dense_similarity_top_k",
    "sparse_similarity_top_k",
    "enable_reranking",
    "rerank_top_n",
    "rerank_model",
    "rerank_mode",
    "rerank_instruct",
    "search_filters",
)
"""Fields of a direct search over the index route."""

SERVICE_FIELDS = ("agent_version", "images", "kb_search_configs")
"""Fields of a search in a search service. Applications also have an `agent_version`."""

SearchKind = Literal["application", "service", "pipeline", "index"]

# These also apply to the other kinds of search: they are merged into the body.
_SHARED_FIELDS = {"extra_parameters"}
_TARGET_FIELDS = ("agent_id", "pipeline_id", "pipeline_name")
_APPLICATION_FIELDS = {*CommonCompletionFields.model_fields, "wait_for_answer"}
_FIELDS_BY_KIND: dict[SearchKind, set[str]] = {
    "application": _APPLICATION_FIELDS,
    "service": {*SERVICE_FIELDS, *_SHARED_FIELDS},
    "pipeline": {*DIRECT_FIELDS, *_SHARED_FIELDS},
    "index": {*INDEX_FIELDS, *_SHARED_FIELDS},
}
_PLACE_BY_KIND: dict[SearchKind, str] = {
    "application": "without a knowledge base",
    "service": "in a search service",
    "pipeline": "in a direct search of a knowledge base",
    "index": "in a direct search with `route='index'`",
}
_USE_BY_KIND: dict[SearchKind, tuple[str, str]] = {
    "application": ("applications", "remove it"),
    "service": ("search services", "pass `agent_id` too"),
    "pipeline": ("direct searches", "pass `pipeline_id` too"),
    "index": ("direct searches with `route='index'`", "pass `pipeline_id` and `route='index'` too"),
}
_MAX_VERSION = 1_000_000
_MAX_PASSAGES = 20  # of the pipeline route (OpenAPI reference)


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


def _check_image_urls(urls: list[str]) -> list[str]:
    for url in urls:
        if not url.startswith(("https://", "http://")):
            message = "invalid `images`: expected public http(s) URLs, got another text"
            raise ValueError(message)
    return urls


class SearchFields(CommonCompletionFields):
    """Fields that define a search and select the passages to return."""

    model_config = ConfigDict(title="BailianRetriever")  # the name in validation errors of a call

    k: int | None = Field(default=None, ge=1)
    """Maximum number of documents to return. Default: all that the service finds.

    It is not sent to an application, whose console sets the number of passages to retrieve. In a direct
    search, it is sent as `rerank_top_n` unless that is set; the pipeline route accepts at most 20.
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

    agent_id: Id | None = None
    """Id of a search service (知识检索服务) to search in, such as `"aid-…"`.

    A search service binds several knowledge bases and their strategy. The service calls it an agent,
    but its id is not the id of an application. `list_knowledge_services("search")` lists the ids. The
    service must be published. It is reached on the host of the workspace, so `workspace` is required.

    The documents disagree on the limit: 25 requests per second, or 10 requests in 10 seconds. The
    retriever does not throttle.
    """

    agent_version: int | str | None = None  # type: ignore[assignment]  # numbers for services
    """Version of the search service: a number, or `"beta"` for the draft. Default: the version that was
    published last. For an application: its version as shown in the console, `"1.0"` or `"2.0"`."""

    images: Annotated[list[str], AfterValidator(_check_image_urls)] | None = Field(
        default=None, min_length=1
    )
    """Public URLs of images to search for in a search service. The query may then be empty."""

    kb_search_configs: Annotated[list[dict[str, Any]], AfterValidator(check_search_configs)] | None = (
        None
    )
    """Filters for the knowledge bases of a search service, for instance
    `[{"id": "kb1", "search_filters": [{"tags": ["2025"]}]}]`.

    They apply in addition to the filters of the service. A knowledge base may occur once, and all
    filters together may have 80,000 bytes (official page). A condition on a field that the knowledge
    base does not declare has no effect. The documents disagree on whether other conditions than `tags`
    and `meta` are allowed for documents.
    """

    pipeline_id: Id | None = None
    """Id of a knowledge base to search directly, without an application and without an answer."""

    route: Literal["pipeline", "index"] | None = None
    """Route of a direct search with `pipeline_id`. Default: `"pipeline"`.

    The official integrations for Spring AI and LlamaIndex use the route `"pipeline"`. It has no
    reference page, so the limits of its fields are those of the OpenAPI operation `Retrieve`.
    `"index"` is the route of the official command line tool, on the host of the workspace, with a
    documented limit of 2,000 requests per second. The documents disagree on whether it reranks. Its
    hits include chunks that were excluded from retrieval, with
    `metadata["is_displayed_chunk_content"]` set to False.
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

    rerank_model: Literal["qwen3-rerank", "qwen3-rerank-hybrid"] | None = None
    """Model that reranks, with `route="index"`. Default of the service: `"qwen3-rerank"`."""

    rerank_mode: Literal["qa", "similar", "custom"] | None = None
    """What the reranking looks for, with `route="index"`: answers, similar texts, or what
    `rerank_instruct` asks for. Default of the service: `"qa"`."""

    rerank_instruct: str | None = Field(default=None, min_length=1)
    """Instruction for the reranking, with `route="index"` and `rerank_mode="custom"`."""

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
    def kind(self) -> SearchKind:
        """What searches: an application, a search service, or one of two routes to a knowledge base."""
        if self.agent_id is not None:
            return "service"
        if self.pipeline_id is None and self.pipeline_name is None:
            return "application"
        return self.route or "pipeline"

    @property
    def requires_workspace_host(self) -> bool:
        """Whether only the host of the workspace has the route."""
        return self.kind in ("service", "index")

    def with_overrides(self, overrides: dict[str, Any]) -> SearchFields:
        """Return these fields with the options of a call applied; None leaves a field unchanged.

        Raises:
            TypeError: An option is not a field; the message suggests the closest field.
        """
        ignored = {"verbose"}  # LangChain's own
        overrides = {name: value for name, value in overrides.items() if name not in ignored}
        if not any(overrides.get(name) is not None for name in _TARGET_FIELDS):
            return merge_options(SearchFields, self, overrides)
        # The settings of another kind of search do not apply to the new one.
        is_service = overrides.get("agent_id") is not None
        kept_fields = set(SearchFields.model_fields) - set(_TARGET_FIELDS) - _APPLICATION_FIELDS
        kept_fields |= _SHARED_FIELDS
        if is_service:
            kept_fields -= {"route", *DIRECT_FIELDS, *INDEX_FIELDS}
        else:
            kept_fields -= set(SERVICE_FIELDS)
        values = {name: getattr(self, name) for name in kept_fields}
        return merge_options(SearchFields, SearchFields.model_construct(**values), overrides)

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        targets = [name for name in _TARGET_FIELDS if getattr(self, name) is not None]
        if len(targets) > 1:
            message = f"cannot use `{targets[0]}` together with `{targets[1]}`: pass one of them"
            raise ValueError(message)
        if self.route == "index" and self.pipeline_id is None:
            message = (
                "cannot use `route='index'` without `pipeline_id`: pass the id of a knowledge base"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_k(self) -> Self:
        if self.kind == "pipeline" and self.rerank_top_n is None and (self.k or 0) > _MAX_PASSAGES:
            message = (
                f"invalid `k`: expected at most {_MAX_PASSAGES} in a direct search, got {self.k}: the "
                "service returns no more; ask several questions, or use `route='index'`"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_fields_of_kind(self) -> Self:
        kind = self.kind
        all_fields = set().union(*_FIELDS_BY_KIND.values())
        for name in sorted(all_fields - _FIELDS_BY_KIND[kind]):
            if getattr(self, name) != SearchFields.model_fields[name].default:
                message = f"cannot use `{name}` {_PLACE_BY_KIND[kind]}: {_explain_use(name, kind)}"
                raise ValueError(message)
        if self.rerank_instruct is not None and self.rerank_mode != "custom":
            message = "cannot use `rerank_instruct` without `rerank_mode='custom'`: pass both"
            raise ValueError(message)
        _check_agent_version(self.agent_version, kind)
        return self


def _explain_use(name: str, kind: SearchKind) -> str:
    """Return what a field applies to, and what to do."""
    other_kind = next(other for other, names in _FIELDS_BY_KIND.items() if name in names)
    use, advice = _USE_BY_KIND[other_kind]
    return f"it applies to {use}; {advice if kind == 'application' else 'remove it'}"


def _check_agent_version(version: int | str | None, kind: SearchKind) -> None:
    """Reject a version that the kind of search does not have.

    Raises:
        ValueError: The version is invalid.
    """
    if version is None:
        return
    if kind == "service":
        if version == "beta" or (isinstance(version, int) and 0 < version <= _MAX_VERSION):
            return
        expected = "a positive number or 'beta' for a search service"
    else:
        if version in ("1.0", "2.0"):
            return
        expected = "'1.0' or '2.0' for an application"
    message = f"invalid `agent_version`: expected {expected}, got {version!r}"
    raise ValueError(message)
