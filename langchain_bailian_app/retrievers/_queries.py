"""One search on its way: what is sent, when enough has come, and what that makes.

Three errands in one shape, for threads and event loops alike: whoever owns the loop sends `request` and
gives each frame to `read` until that says that enough has come; if the reply ends before, `end`.
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
from langchain_bailian_app._answer.steps import kind_of
from langchain_bailian_app._request.body import ServiceRequest, whole_request
from langchain_bailian_app._request.transcript import Turn
from langchain_bailian_app._settings.application import ApplicationFields, QuestionFields
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.chat_models._response import ReplyReader
from langchain_bailian_app.errors import BailianNotFoundError, BailianServerError
from langchain_bailian_app.retrievers._documents import (
    Found,
    documents,
    found_in_all,
    found_so_far,
    hits_of,
)
from langchain_bailian_app.retrievers._fields import DIRECT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.documents import Document

    from langchain_bailian_app._answer.frames import Frame
    from langchain_bailian_app._answer.passages import Passage
    from langchain_bailian_app.retrievers._fields import SearchFields


_logger = logging.getLogger("langchain_bailian_app")


class Errand(ABC):
    """Something to ask the service, once."""

    request: ServiceRequest
    """What is sent."""

    @abstractmethod
    def read(self, frame: Frame) -> bool:
        """Take a frame; return whether enough has come."""

    def end(self) -> None:  # noqa: B027  # for one frame the transport sees to it that it comes
        """Note that no more frames come.

        Raises:
            BailianError: Not enough has come.
        """

    def on_error(self) -> AbstractContextManager[None]:
        """Do what is to be done if an error ends the errand."""
        return nullcontext()

    def documents(self) -> list[Document]:
        """Return what was found."""
        return []


class AppSearch(Errand):
    """Asks an application, and hangs up when it tells what it has found."""

    def __init__(self, app_id: str, query: str, options: SearchFields) -> None:
        asked = {name: getattr(options, name) for name in QuestionFields.model_fields}
        if options.has_thoughts is None:
            asked["has_thoughts"] = True
        fields = ApplicationFields(**asked)
        self.request = whole_request(app_id, [Turn("user", query)], fields)
        self._app_id = app_id
        self._options = options
        self._reply = ReplyReader(app_id, fields)
        self._whole = False

    def read(self, frame: Frame) -> bool:
        steps = [delta.entry for delta in self._reply.read([frame]) if isinstance(delta, StepResult)]
        return not self._options.wait_for_answer and any(hits_of(step) is not None for step in steps)

    def end(self) -> None:
        self._reply.end(hint=False)  # the steps tell what was found
        self._whole = True

    def on_error(self) -> AbstractContextManager[None]:
        return self._reply.partial_on_error()

    def documents(self) -> list[Document]:
        return documents(
            self._found(), k=self._options.k, score_threshold=self._options.score_threshold
        )

    def _found(self) -> list[Found]:
        if not self._whole:
            return found_so_far(self._reply.so_far().thoughts)
        answer = self._reply.answer
        searched = [step for step in answer.thoughts if kind_of(step) == "retrieval"]
        if any(hits_of(step) is None for step in searched):
            message = (
                f"application {self._app_id} told what it found in a form that cannot be read: the "
                "documents are those that its answer names as sources"
            )
            warnings.warn(message, stacklevel=2)
        found = found_in_all(answer)
        if not found and not searched:
            _hint_at_retrieval(self._app_id)
        return found


class PipelineSearch(Errand):
    """Searches a knowledge base directly."""

    def __init__(
        self,
        pipeline_id: str,
        query: str,
        options: SearchFields,
        *,
        if_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self.request = retrieve_request(pipeline_id, query, options)
        self._pipeline_id = pipeline_id
        self._if_gone = if_gone
        self._options = options
        self._passages: list[Passage] | None = None

    def read(self, frame: Frame) -> bool:
        self._passages = passages_from_reply(frame)
        if self._passages is None:
            message = "the reply to a search does not say what was found: it has no list of `nodes`"
            raise BailianServerError(message, request_id=frame.request_id, body=frame.extra)
        return True

    @contextmanager
    def on_error(self) -> Iterator[None]:
        try:
            yield
        except BailianNotFoundError:
            self._if_gone()
            raise

    def documents(self) -> list[Document]:
        return documents(
            map(Found, self._passages or ()),
            k=self._options.k,
            score_threshold=self._options.score_threshold,
            pipeline_id=self._pipeline_id,
        )


class Lookup(Errand):
    """Asks for the id of a knowledge base."""

    pipeline_id = ""

    def __init__(self, name: str) -> None:
        self.request = lookup_request(name)
        self._name = name

    def read(self, frame: Frame) -> bool:
        found = id_from_reply(frame)
        if found is None:
            message = f"there is no knowledge base named {self._name!r} in this workspace"
            raise BailianNotFoundError(message, request_id=frame.request_id, body=frame.extra)
        try:
            self.pipeline_id = check_id(found)
        except ValueError as exc:
            message = f"the service names an id for {self._name!r} that is none: {found!r}"
            raise BailianServerError(message, request_id=frame.request_id, body=frame.extra) from exc
        return True


@lru_cache(maxsize=256)  # once for each application
def _hint_at_retrieval(app_id: str) -> None:
    _logger.warning(
        "application %s told of no search and named no sources, so there are no documents: bind a "
        "knowledge base (知识库) to it, switch on 展示回答来源 (show sources), and publish it again",
        app_id,
    )


_MOST_PASSAGES = 20


def lookup_request(name: str) -> ServiceRequest:
    """Return the request that asks for the id of a knowledge base."""
    return ServiceRequest(path="indices/pipeline_simple", method="GET", params={"pipeline_name": name})


def id_from_reply(frame: Frame) -> str | None:
    """Return the id that a reply names."""
    found = frame.extra.get("id")
    return str(found) if found else None


def retrieve_request(pipeline_id: str, query: str, options: SearchFields) -> ServiceRequest:
    """Return the request that searches a knowledge base."""
    fields = {name: getattr(options, name) for name in DIRECT_FIELDS}
    if options.rerank_top_n is None and options.k is not None:
        fields["rerank_top_n"] = min(options.k, _MOST_PASSAGES)
    given = {name: value for name, value in fields.items() if value is not None}
    return ServiceRequest(
        path=f"indices/pipeline/{pipeline_id}/retrieve",
        body={"query": query} | given | (options.extra_parameters or {}),
    )


def passages_from_reply(frame: Frame) -> list[Passage] | None:
    """Return what was found; None if the reply does not say."""
    holder: dict[str, Any] = frame.extra
    if "nodes" not in holder and isinstance(holder.get("data"), dict):
        holder = holder["data"]
    if "nodes" not in holder:
        return None
    nodes = wire_json.opened(holder["nodes"])
    return passages_from_nodes(nodes) if isinstance(nodes, list | None) else None
