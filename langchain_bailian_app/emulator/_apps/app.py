"""Applications: their console settings, and the faults that tests inject.

Only data. `default_answers` or the app's own `answer` builds the answers.
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
"""Function that takes a `Turn` and returns the answer. It runs on the server's thread, so it must not
block."""

AppKind: TypeAlias = Literal["agent", "agent2", "workflow", "rag"]
"""Kinds of applications: agent 1.0, Agent 2.0, workflow, and the legacy RAG application."""

StepForm: TypeAlias = Literal["whole", "increments", "growing"]
"""Forms of the arguments and observations of steps in a stream."""

ReasoningField: TypeAlias = Literal["thought", "response", "reasoning_content"]
"""Fields of `thoughts` that contain reasoning."""


@dataclass(frozen=True)
class Replay:
    """A response that is sent unchanged; see `BailianEmulator.replay` for the fields."""

    body: bytes
    content_type: str = "text/event-stream;charset=UTF-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cuts: Sequence[int] = ()
    pause: float = 0.0
    abort: bool = False

    def split_body(self) -> list[bytes]:
        """Split the body at those offsets in `cuts` that are inside it."""
        offsets = sorted({cut for cut in self.cuts if 0 < cut < len(self.body)})
        bounds = [0, *offsets, len(self.body)]
        return [self.body[a:b] for a, b in itertools.pairwise(bounds)]


@dataclass(eq=False)
class App:
    """An application. You can change its attributes at any time; changes apply to the next request.

    Args:
        name: Name in the console.
        description: Description in one line.
        app_id: Application id. Default: 32 random hexadecimal characters.
        kind: `agent` (agent 1.0, the default), `agent2` (Agent 2.0), `workflow`, or `rag` (legacy RAG
            application). Each kind ignores or rejects some request fields.
        workspace: Workspace id that the header `X-DashScope-WorkSpace` must contain. None (default)
            accepts any value.
        published: Whether the app is published. Requests to an unpublished app are rejected with
            `FlowNotPublished`. Default: True.
        model_id: Model id reported in `usage`. `parameters.model_id` overrides it, except in a
            workflow. Default: `qwen-plus`.
        system: System prompt. `${name}` and `{{name}}` are replaced by values of
            `biz_params.user_prompt_params`; variables without a value are left unchanged.
        knowledge_bases: Knowledge bases bound to the app. `rag_options.pipeline_ids` replaces them.
        top_k: Maximum number of chunks retrieved per question. Default: 5.
        show_references: The console switch 展示回答来源 (show answer sources): whether answers have
            citation markers and `doc_references`. Default: True. It has no effect in Agent 2.0. In a
            legacy application, `doc_reference_type` overrides it.
        thinking: `off` (default), `on`, or `hybrid` (on if the request sets `enable_thinking`). While
            an agent thinks, its frames have empty text, and no reasoning unless the answer has
            `thoughts`.
        long_term_memory: Whether the app stores and recalls facts about the user. Default: False.
        always_thoughts: Whether every answer has `thoughts`, even if the request does not set
            `has_thoughts`. Default: False.
        never_thoughts: Whether no answer has `thoughts`, even if the request sets `has_thoughts`.
            Default: False.
        repeat_steps: Whether every frame of an incremental stream repeats the retrieval and memory
            steps. Default: False; only the first frame contains them. The service's behavior is
            undocumented.
        step_form: How an agent's stream sends the arguments and observations of steps: `whole`
            (default, as recorded), in `increments`, or as `growing` text that each frame repeats. The
            last two are unverified: clients of the service report increments.
        reasoning_field: Field of `thoughts` with the reasoning: `thought` (default; `response` then
            repeats it, as recorded), or only `response` or `reasoning_content`, which clients of the
            service read.
        ignores_incremental: Whether every frame contains the text of all earlier frames, even if the
            request sets `incremental_output`. Default: False.
        text_in_last_frame: Whether the last piece of an agent's answer is in the last frame of the
            stream, together with `"stop"`. Default: False; the text of the last frame of an incremental
            stream is then empty. Captures of the service show both.
        reject_status: Value of `output.reject_status` in every frame. None (default) leaves the field
            out. Captures of the service show False, and frames without the field.
        answer: Scripted answer: a string, or a function that takes a `Turn`. Default: sentences from
            the documents, or an echo. In a workflow, it is the result of LLM nodes without `text`.
        pace: Seconds to wait before each frame. A call without streaming waits as long as a stream
            would take. None (default) uses the pace of the emulator.
        error: Error that is sent instead of the answer.
        stall_after: Number of frames after which a stream stalls and the connection stays open.
        cut_after: Number of frames after which the connection of a stream is dropped.
        faults: Faults to inject into responses, for example `Faults.always("drip-body")`. `Faults`
            describes all faults.
        replay: Response that is sent unchanged instead of any answer.
        nodes: Nodes of a workflow, in order. Default: a Start, an LLM and an End node.
        variables: Variables of the Start node, name → type. `biz_params` must contain all of them.
        dialog: Whether a workflow is a dialog workflow (default) or a task workflow, which does not
            keep earlier rounds.
        final_text: Text that replaces the text of a workflow's last frame. Earlier frames are
            unchanged.
        completed_as_text: Whether `node_is_completed` is a string, as the official client expects.
            Default: False, since all documents show a boolean.
        end_repeats: Whether an End node, in `agent_format` and `message_format_plus`, repeats text that
            an LLM node has already sent. Default: False, as in the documented example.
        messages_in_agent2: Whether `messages` are `ignored` (default) or `refused` in Agent 2.0, whose
            documentation does not mention them.
        empty_turns: Whether an item of `messages` without content is `refused` (default), as documented
            for the platform, or `accepted`. Which of them applies to applications is not documented.

    Raises:
        TypeError: `answer`, `faults` or `variables` has a wrong type.
        ValueError: `kind` is unknown, two options contradict each other, or two nodes have the same id.
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
    step_form: StepForm = "whole"
    reasoning_field: ReasoningField = "thought"
    text_in_last_frame: bool = False
    reject_status: bool | None = None
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
    empty_turns: Literal["refused", "accepted"] = "refused"

    def __post_init__(self) -> None:
        """Reject invalid arguments here, not at the first request."""
        answer: object = self.answer
        if not (answer is None or isinstance(answer, str) or callable(answer)):
            message = (
                f"invalid `answer`: expected a str or a function that takes a `Turn`, got {answer!r}"
            )
            raise TypeError(message)
        faults: object = self.faults
        if not (faults is None or isinstance(faults, Faults)):
            message = (
                f"invalid `faults`: expected `Faults(shares)` or `Faults.always(name)`, got {faults!r}"
            )
            raise TypeError(message)
        if self.kind not in get_args(AppKind):
            message = f"invalid `kind`: expected one of {get_args(AppKind)}, got {self.kind!r}"
            raise ValueError(message)
        if self.step_form not in get_args(StepForm):
            message = (
                f"invalid `step_form`: expected one of {get_args(StepForm)}, got {self.step_form!r}"
            )
            raise ValueError(message)
        if self.reasoning_field not in get_args(ReasoningField):
            message = (
                f"invalid `reasoning_field`: expected one of {get_args(ReasoningField)},"
                f" got {self.reasoning_field!r}"
            )
            raise ValueError(message)
        if self.always_thoughts and self.never_thoughts:
            message = "cannot use `always_thoughts` together with `never_thoughts`: set one of them"
            raise ValueError(message)
        self._check_workflow()

    def _check_workflow(self) -> None:
        if (self.nodes or self.variables) and self.kind != "workflow":
            message = (
                f'cannot use `nodes` or `variables` with kind {self.kind!r}: set `kind="workflow"`'
            )
            raise ValueError(message)
        for name, kind in self.variables.items():
            declared: object = kind
            if not isinstance(declared, type):
                message = (
                    f"invalid type of variable {name!r}: expected a class such as `str`,"
                    f" got {declared!r}"
                )
                raise TypeError(message)
        check_unique_ids(self.nodes)

    def thinks(self, enable_thinking: bool | None) -> bool:
        """Return whether the app reasons before it answers, given the request's `enable_thinking`."""
        return self.thinking == "on" or (self.thinking == "hybrid" and bool(enable_thinking))

    def shows_thoughts(self, *, asked: bool) -> bool:
        """Return whether the answer has `thoughts`, given the request's `has_thoughts`."""
        return not self.never_thoughts and (asked or self.always_thoughts)


def collect_knowledge_bases(
    apps: Mapping[str, App], extra: Sequence[KnowledgeBase]
) -> dict[str, KnowledgeBase]:
    """Return the knowledge bases that are bound to apps, and `extra` ones, by `pipeline_id`."""
    # Copied in one step, since a test may add apps at the same time.
    bound = (base for app in list(apps.values()) for base in app.knowledge_bases)
    return {base.pipeline_id: base for base in (*bound, *extra)}
