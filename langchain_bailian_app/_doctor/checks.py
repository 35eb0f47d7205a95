"""What the doctor finds: a line for each check, made of what its calls have brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from langchain_bailian_app import errors
from langchain_bailian_app.retrievers._documents import searches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage

CHECKS = (
    "address",
    "key",
    "workspace",
    "application",
    "streaming",
    "thoughts",
    "references",
    "sessions",
)
"""All checks, each after those that it rests on."""

_SHORT_ANSWER = 8  # characters that may well come in one piece
_SLOW = 2.0  # seconds after which an answer that comes all at once was held back
_SUDDEN = 0.1  # share of that time in which it comes then
_CONSOLE = "publish the application again after every change in the console"


class Finding(NamedTuple):
    """What a check has found."""

    check: str
    state: Literal["ok", "look", "wrong", "skipped"]
    """`look` is what may be meant: an application without a knowledge base names no sources."""

    told: str
    """One line: what was found, and what to do if it is not right."""


@dataclass(frozen=True)
class Heard:
    """An answer, and when it came."""

    message: AIMessage
    pieces: int
    """In how many pieces its text came."""

    first: float
    """Seconds from the request to the first sign of it: text, reasoning, or a step."""

    seconds: float
    """Seconds from the request to the end."""


def of_failure(error: errors.BailianError) -> list[Finding]:
    """Return what a first call that failed tells: the check that it fails, and those that it passed."""
    blamed = _blamed(error)
    before = CHECKS[: CHECKS.index(blamed)]
    found = []
    if "key" in before:
        found = [Finding("address", "ok", "reached"), Finding("key", "ok", "accepted")]
    elif "address" in before:
        found = [Finding("address", "ok", "reached")]
    return [*found, Finding(blamed, "wrong", _line(error))]


def of_answer(heard: Heard, base_url: str, workspace: str | None) -> list[Finding]:
    """Return what a first answer tells, of everything but sessions."""
    used = (
        "none given, so the default one of the key" if workspace is None else f"{workspace}, accepted"
    )
    return [
        Finding("address", "ok", base_url),
        Finding("key", "ok", "accepted"),
        Finding("workspace", "ok", used),
        _application(heard),
        _streaming(heard),
        _thoughts(heard.message),
        _references(heard.message),
    ]


def of_second_turn(first: AIMessage, second: AIMessage | errors.BailianError | None) -> Finding:
    """Return what the second turn of a session tells; None if there was no session to go on with."""
    if second is None:
        told = "the answer names no session: keep conversations as messages (`history='messages'`)"
        return Finding("sessions", "wrong", told)
    if isinstance(second, errors.BailianError):
        return Finding("sessions", "wrong", f"a second turn was refused: {_line(second)}")
    ids = [message.response_metadata.get("session_id") for message in (first, second)]
    if ids[0] != ids[1]:
        told = (
            "the second turn was answered in another session, so the first one is not kept: a workflow "
            "must be a dialog workflow (对话型); else keep conversations as messages"
        )
        return Finding("sessions", "wrong", told)
    return Finding("sessions", "ok", "a second turn went on in the same session")


def of_settings(check: str, problem: ValueError) -> Finding:
    """Return what a setting that cannot work tells."""
    return Finding(check, "wrong", " ".join(str(problem).split()))


def skipped(found: Sequence[Finding]) -> list[Finding]:
    """Return the checks that were not made."""
    made = {finding.check for finding in found}
    told = "not checked, because of what is wrong above"
    return [Finding(check, "skipped", told) for check in CHECKS if check not in made]


def _blamed(error: errors.BailianError) -> str:
    family = (error.code or "").partition(".")[0]
    blamed = "application"
    if family in {"NOT AUTHORIZED", "Workspace", "WorkSpaceNotFound"}:
        blamed = "workspace"
    elif isinstance(error, errors.BailianAuthenticationError):
        blamed = "key"
    elif isinstance(error, errors.BailianStreamError):
        blamed = "streaming"
    elif isinstance(error, errors.BailianTimeoutError):
        # What certainly did not run never got there.
        blamed = "address" if error.is_retryable else "streaming"
    elif isinstance(error, errors.BailianConnectionError) or family == "NotFound":
        blamed = "address"
    return blamed


def _line(error: errors.BailianError) -> str:
    """Return an error as one line; its own text says what to do where the code does."""
    advice = ""
    match error:
        case errors.BailianTimeoutError() if not error.is_retryable:
            advice = "; a model that thinks may need a longer `--timeout`, else try again later"
        case errors.BailianStreamError():
            advice = "; look for a proxy in between, or for a node of a workflow that fails"
        case errors.BailianConnectionError():
            advice = "; check the network, the proxy and DASHSCOPE_BASE_URL"
        case errors.BailianRequestError() if "biz_params" in str(error):
            advice = """; give them with `--biz-params '{"city": "杭州"}'`"""
        case errors.BailianRateLimitError() | errors.BailianServerError():
            advice = "; try again later"
    return " ".join(f"{error}{advice}".split())


def _application(heard: Heard) -> Finding:
    if not heard.message.text:
        told = (
            f"answered without any text in {heard.seconds:.1f} s: look at its prompt, or its End node"
        )
        return Finding("application", "look", told)
    usage = heard.message.usage_metadata
    tokens = "tells no tokens" if usage is None else f"{usage['total_tokens']} tokens"
    model = heard.message.response_metadata["model_name"]
    return Finding("application", "ok", f"answered in {heard.seconds:.1f} s ({model}, {tokens})")


def _streaming(heard: Heard) -> Finding:
    if heard.pieces <= 1 and len(heard.message.text) > _SHORT_ANSWER:
        told = (
            "the answer came in one piece: in a workflow switch on 流式输出 in a node and name it in "
            f"`answer_node`; else a proxy holds the stream back ({_CONSOLE})"
        )
        return Finding("streaming", "look", told)
    if heard.seconds > _SLOW and heard.seconds - heard.first < _SUDDEN * heard.seconds:
        told = (
            f"{heard.pieces} pieces came all at once, after {heard.first:.1f} s: a proxy in between "
            "seems to collect the stream; let it pass `text/event-stream` unbuffered"
        )
        return Finding("streaming", "look", told)
    told = f"{heard.pieces} piece(s) of text, the first sign of an answer after {heard.first:.1f} s"
    return Finding("streaming", "ok", told)


def _thoughts(message: AIMessage) -> Finding:
    steps = [block["name"] for block in message.content_blocks if block["type"] == "server_tool_call"]
    nodes = {node.get("node_id") for node in message.additional_kwargs.get("nodes", ())}
    reasoning = message.additional_kwargs.get("reasoning_content", "")
    told = [f"{len(steps)} step(s): {', '.join(steps)}"] if steps else []
    told += [f"{len(nodes)} node(s)"] if nodes else []
    told += [f"{len(reasoning)} characters of reasoning"] if reasoning else []
    if told:
        return Finding("thoughts", "ok", "; ".join(told))
    none = (
        "none came, though they were asked for: right for an application without knowledge, memory, "
        f"plugins and thinking; else {_CONSOLE}"
    )
    return Finding("thoughts", "look", none)


def _references(message: AIMessage) -> Finding:
    references = message.additional_kwargs.get("doc_references")
    citations = message.additional_kwargs.get("citations", ())
    searched = searches(message.additional_kwargs.get("thoughts", ()))
    hits = sum(map(len, searched))
    if references:
        told = f"{len(references)} source(s) named, {len(citations)} citation(s)"
        return Finding("references", "ok", told)
    if hits:
        told = (
            f"it found {hits} passage(s), but names no sources: switch on 展示回答来源 in the console "
            f"(show sources), and {_CONSOLE}"
        )
    elif searched:
        told = "it searched and found nothing: give `--question` something that its documents answer"
    else:
        told = (
            "it told of no search: right for an application without a knowledge base; else bind one "
            "(知识库), or give `--question` something that its documents answer"
        )
    return Finding("references", "look", told)
