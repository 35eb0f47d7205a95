"""An application as its console describes it, plus what a test wants to go wrong with it.

Only data. What an app answers is in `default_answers`, or in its own `answer`.
"""

import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from langchain_bailian_app.emulator._apps.faults import Faults
from langchain_bailian_app.emulator._apps.nodes import Node, check_unique_ids
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._http.errors import ErrorReply
from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase

Answer: TypeAlias = Callable[[Turn], str | Reply]
"""A scripted answer; called on the server's thread, so it must not block."""

AppKind: TypeAlias = Literal["agent", "agent2", "workflow", "rag"]
"""Kinds of applications: agent 1.0, Agent 2.0, workflow, and the legacy RAG application."""


@dataclass(frozen=True)
class Replay:
    """Bytes to be sent as they are; see `BailianEmulator.replay`."""

    body: bytes
    content_type: str = "text/event-stream;charset=UTF-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cuts: Sequence[int] = ()
    pause: float = 0.0
    abort: bool = False

    def split_body(self) -> list[bytes]:
        """The body, cut at the offsets that lie inside it."""
        offsets = sorted({cut for cut in self.cuts if 0 < cut < len(self.body)})
        bounds = [0, *offsets, len(self.body)]
        return [self.body[a:b] for a, b in itertools.pairwise(bounds)]


@dataclass(eq=False)
class App:
    """An application. Change its attributes at any time; the next request sees them.

    Args:
        name: Its name.
        description: One line about it.
        app_id: 32 hexadecimal characters; random when not given.
        kind: The kind of application. `app_kinds` says what each takes of a request.
        workspace: Workspace that `X-DashScope-WorkSpace` must name; `None` accepts any.
        published: An unpublished app answers `FlowNotPublished`.
        model_id: The model that `usage` names; `parameters.model_id` overrides it.
        system: Its prompt; `${name}` and `{{name}}` are filled from `user_prompt_params`.
        knowledge_bases: The knowledge bases bound to it.
        top_k: How many chunks are retrieved.
        show_references: The console switch 展示回答来源: markers and `doc_references`.
        thinking: `hybrid` follows `enable_thinking`, and is off without it.
        long_term_memory: Whether it stores and recalls facts about the user.
        always_thoughts: `thoughts` in every answer, though nobody asked.
        never_thoughts: `thoughts` in no answer, whoever asked.
        repeat_steps: Repeat retrieval and memory steps on every frame of an incremental stream,
            not only on the first. No source says which one the service does.
        ignores_incremental: Send the whole text so far on every frame, whatever was asked.
        answer: A scripted answer, instead of the extractive or echoing one: a text, or a function
            of the `Turn`. In a workflow, what its LLM nodes without a text say.
        pace: Seconds before each frame; `None` for the emulator's pace. A call without a stream
            waits as long as its stream would have taken.
        error: A refusal to give instead of the answer.
        stall_after: Send nothing more after this many frames, and keep the connection open.
        cut_after: Drop the connection after this many frames.
        faults: Which replies go wrong on their way, and how.
        replay: Bytes to send instead of any answer.
        nodes: The nodes of a workflow, in order; Start, LLM and End when not given.
        variables: Variables of its Start node that a call must give in `biz_params`, and their types.
        dialog: Whether it is a dialog workflow; a task workflow knows no rounds before.
        final_text: Instead of the text of a workflow's last frame, whatever was streamed before.
        completed_as_text: Send `node_is_completed` as a string, as the official client expects it;
            all documents show a boolean.
        end_repeats: Let an End node say again, in `agent_format` and `message_format_plus`, what an
            LLM node has said there. In the documented example it does not.
        messages_in_agent2: What becomes of `messages` in Agent 2.0, which does not document them.
    """

    name: str
    description: str = ""
    app_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    kind: AppKind = "agent"
    workspace: str | None = None
    published: bool = True
    model_id: str = "qwen-plus"
    system: str = ""
    knowledge_bases: Sequence[KnowledgeBase] = ()
    top_k: int = 5
    show_references: bool = True
    thinking: Literal["off", "on", "hybrid"] = "off"
    long_term_memory: bool = False
    always_thoughts: bool = False
    never_thoughts: bool = False
    repeat_steps: bool = False
    ignores_incremental: bool = False
    answer: Answer | str | None = None
    pace: float | None = None
    error: ErrorReply | None = None
    stall_after: int | None = None
    cut_after: int | None = None
    faults: Faults | None = None
    replay: Replay | None = None
    nodes: Sequence[Node] = ()
    variables: Mapping[str, type] = field(default_factory=dict)
    dialog: bool = True
    final_text: str | None = None
    completed_as_text: bool = False
    end_repeats: bool = False
    messages_in_agent2: Literal["ignored", "refused"] = "ignored"

    def __post_init__(self) -> None:
        """Say at once what would otherwise go wrong at the first request."""
        answer: object = self.answer
        if not (answer is None or isinstance(answer, str) or callable(answer)):
            message = f"`answer` is a text or a function of the turn, not {answer!r}"
            raise TypeError(message)
        faults: object = self.faults
        if not (faults is None or isinstance(faults, Faults)):
            message = f"`faults` takes `Faults(shares)` or `Faults.always(name)`, not {faults!r}"
            raise TypeError(message)
        if self.kind not in get_args(AppKind):
            message = f"there is no kind of application {self.kind!r}; there are {get_args(AppKind)}"
            raise ValueError(message)
        if self.always_thoughts and self.never_thoughts:
            message = "`always_thoughts` and `never_thoughts` contradict each other: set one of them"
            raise ValueError(message)
        self._check_workflow()

    def _check_workflow(self) -> None:
        if (self.nodes or self.variables) and self.kind != "workflow":
            message = f'`nodes` and `variables` belong to `kind="workflow"`, not to {self.kind!r}'
            raise ValueError(message)
        for name, kind in self.variables.items():
            declared: object = kind
            if not isinstance(declared, type):
                message = f"the type of the variable {name!r} is a class like `str`, not {declared!r}"
                raise TypeError(message)
        check_unique_ids(self.nodes)

    def thinks(self, enable_thinking: bool | None) -> bool:
        """Whether it reasons before it answers, given the request's `enable_thinking`."""
        return self.thinking == "on" or (self.thinking == "hybrid" and bool(enable_thinking))

    def shows_thoughts(self, *, asked: bool) -> bool:
        """Whether its answers carry `thoughts`, given the request's `has_thoughts`."""
        return not self.never_thoughts and (asked or self.always_thoughts)


def collect_knowledge_bases(
    apps: Mapping[str, App], extra: Sequence[KnowledgeBase]
) -> dict[str, KnowledgeBase]:
    """The knowledge bases bound to apps, and others, by `pipeline_id`."""
    # Copied in one step: a test may add apps meanwhile.
    bound = (base for app in list(apps.values()) for base in app.knowledge_bases)
    return {base.pipeline_id: base for base in (*bound, *extra)}
