"""Queries of the retriever, with their requests and the parsing of the responses.

Both kinds of query have the same interface, for threads and event loops. The caller sends `request` and
passes each frame to `feed` until `feed` returns True. If the response ends first, the caller calls
`end`.
"""

from __future__ import annotations

import logging
import warnings
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer import wire_json
from langchain_bailian_app._answer.events import StepResult
from langchain_bailian_app._answer.passages import Passage, passages_from_nodes
from langchain_bailian_app._answer.steps import step_kind
from langchain_bailian_app._request.body import build_transcript_request
from langchain_bailian_app._request.fields import CommonCompletionFields, CompletionFields
from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._request.transcript import Turn
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.chat_models._response_builder import ResponseBuilder
from langchain_bailian_app.errors import BailianNotFoundError, BailianServerError
from langchain_bailian_app.retrievers._documents import (
    RetrievedPassage,
    passages_from_answer,
    passages_from_thought,
    passages_from_thoughts,
    to_documents,
)
from langchain_bailian_app.retrievers._search_fields import DIRECT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.documents import Document

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._answer.passages import Passage
    from langchain_bailian_app.retrievers._search_fields import SearchFields

_logger = logging.getLogger("langchain_bailian_app")


def build_lookup_request(name: str) -> ServiceRequest:
    """Return the request that looks up the id of a knowledge base."""
    return ServiceRequest(
        path="indices/pipeline_simple",
        method="GET",
        params={"pipeline_name": name},
        retry_on="failure",
    )


def pipeline_id_from_frame(frame: Frame, name: str) -> str:
    """Return the id of the knowledge base `name` from the response to a lookup.

    Raises:
        BailianNotFoundError: There is no such knowledge base.
        BailianServerError: The id is invalid.
    """
    pipeline_id = frame.extra.get("id")
    if not pipeline_id:
        message = f"no knowledge base named {name!r} in this workspace"
        raise BailianNotFoundError(message, request_id=frame.request_id, body=frame.extra)
    try:
        return check_id(str(pipeline_id), name="pipeline_id")
    except ValueError as exc:
        message = f"the service returned an invalid id for {name!r}: {str(pipeline_id)!r}"
        raise BailianServerError(message, request_id=frame.request_id, body=frame.extra) from exc


def build_retrieve_request(pipeline_id: str, query: str, options: SearchFields) -> ServiceRequest:
    """Return the request that searches a knowledge base."""
    fields = {name: getattr(options, name) for name in DIRECT_FIELDS}
    if options.rerank_top_n is None and options.k is not None:
        fields["rerank_top_n"] = options.k
    values = {name: value for name, value in fields.items() if value is not None}
    return ServiceRequest(
        path=f"indices/pipeline/{check_id(pipeline_id, name='pipeline_id')}/retrieve",
        body={"query": query} | values | (options.extra_parameters or {}),
    )


def passages_from_frame(frame: Frame) -> list[Passage] | None:
    """Return the passages in a response; None if it has no list of passages."""
    data: dict[str, Any] = frame.extra
    if "nodes" not in data and isinstance(data.get("data"), dict):
        data = data["data"]
    if "nodes" not in data:
        return None
    nodes = wire_json.parse_nested(data["nodes"])
    return passages_from_nodes(nodes) if isinstance(nodes, list | None) else None


class SearchQuery(ABC):
    """Base class of queries; each sends one request to the service."""

    request: ServiceRequest
    """Request to send."""

    @abstractmethod
    def feed(self, frame: Frame) -> bool:
        """Process a frame and return whether the query is complete."""

    @abstractmethod
    def documents(self) -> list[Document]:
        """Return the documents found."""

    def end(self) -> None:  # noqa: B027  # optional: the transport ensures that a single frame arrives
        """Process the end of the response.

        Raises:
            BailianError: The response is incomplete.
        """

    def handle_errors(self) -> AbstractContextManager[None]:
        """Return a context manager that handles an error during the query."""
        return nullcontext()


class ApplicationQuery(SearchQuery):
    """Query to an application.

    The query is complete once a retrieval step arrives, or with `wait_for_answer`, at the end of the
    answer.
    """

    def __init__(self, app_id: str, query: str, options: SearchFields) -> None:
        values = {name: getattr(options, name) for name in CommonCompletionFields.model_fields}
        if options.has_thoughts is None:
            values["has_thoughts"] = True
        fields = CompletionFields(**values)
        self.request = build_transcript_request(app_id, [Turn("user", query)], fields)
        self._app_id = app_id
        self._options = options
        self._response = ResponseBuilder(app_id, fields)
        self._is_complete = False

    def feed(self, frame: Frame) -> bool:
        steps = [delta.entry for delta in self._response.feed([frame]) if isinstance(delta, StepResult)]
        return not self._options.wait_for_answer and any(
            passages_from_thought(step) is not None for step in steps
        )

    def end(self) -> None:
        self._response.end(warn_missing_references=False)  # the steps contain the passages
        self._is_complete = True

    def handle_errors(self) -> AbstractContextManager[None]:
        return self._response.partial_on_error()

    def documents(self) -> list[Document]:
        return to_documents(
            self._collect_passages(), k=self._options.k, score_threshold=self._options.score_threshold
        )

    def _collect_passages(self) -> list[RetrievedPassage]:
        if not self._is_complete:
            return passages_from_thoughts(self._response.build_current_answer().thoughts)
        answer = self._response.answer
        retrieval_steps = [step for step in answer.thoughts if step_kind(step) == "retrieval"]
        if any(passages_from_thought(step) is None for step in retrieval_steps):
            message = (
                f"could not parse the retrieval step of application {self._app_id}; falling back to "
                "the sources of its answer"
            )
            warnings.warn(message, stacklevel=2)
        passages = passages_from_answer(answer)
        if not passages and not retrieval_steps:
            _warn_about_missing_retrieval(self._app_id)
        return passages


class PipelineQuery(SearchQuery):
    """Direct search of a knowledge base."""

    def __init__(
        self,
        pipeline_id: str,
        query: str,
        options: SearchFields,
        *,
        on_not_found: Callable[[], None] = lambda: None,
    ) -> None:
        self.request = build_retrieve_request(pipeline_id, query, options)
        self._pipeline_id = pipeline_id
        self._on_not_found = on_not_found
        self._options = options
        self._passages: list[Passage] | None = None

    def feed(self, frame: Frame) -> bool:
        self._passages = passages_from_frame(frame)
        if self._passages is None:
            message = "invalid response to a knowledge base search: the list `nodes` is missing"
            raise BailianServerError(message, request_id=frame.request_id, body=frame.extra)
        return True

    @contextmanager
    def handle_errors(self) -> Iterator[None]:
        try:
            yield
        except BailianNotFoundError:
            self._on_not_found()
            raise

    def documents(self) -> list[Document]:
        return to_documents(
            map(RetrievedPassage, self._passages or ()),
            k=self._options.k,
            score_threshold=self._options.score_threshold,
            pipeline_id=self._pipeline_id,
        )


@lru_cache(maxsize=256)  # once for each application
def _warn_about_missing_retrieval(app_id: str) -> None:
    _logger.warning(
        "no documents: application %s returned neither a retrieval step nor sources; bind a 知识库 "
        "(knowledge base) to it, turn on 展示回答来源 (show answer sources), then publish the "
        "application again",
        app_id,
    )
