"""What the doctor finds: a line for each check, made of what its calls have brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from langchain_bailian_app import errors
from langchain_bailian_app.retrievers._documents import passages_by_thought

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

_SHORT_ANSWER_CHARS = 8  # characters that may well come in one piece
_SLOW_SECONDS = 2.0  # seconds after which an answer that comes all at once was held back
_BURST_SHARE = 0.1  # share of that time in which it comes then
_PUBLISH_HINT = "publish the application again after every change in the console"


class CheckResult(NamedTuple):
    """What a check has found."""

    check: str
    state: Literal["ok", "warn", "fail", "skip"]
    """`warn` is what may be meant: an application without a knowledge base names no sources."""

    message: str
    """One line: what was found, and what to do if it is not right."""


@dataclass(frozen=True)
class TimedAnswer:
    """An answer, and when it came."""

    message: AIMessage
    text_chunks: int
    """In how many pieces its text came."""

    first_chunk_seconds: float
    """Seconds from the request to the first sign of it: text, reasoning, or a step."""

    total_seconds: float
    """Seconds from the request to the end."""


def from_error(error: errors.BailianError) -> list[CheckResult]:
    """Return what a first call that failed tells: the check that it fails, and those that it passed."""
    failed_check = _find_failed_check(error)
    earlier = CHECKS[: CHECKS.index(failed_check)]
    passed = []
    if "key" in earlier:
        passed = [CheckResult("address", "ok", "reached"), CheckResult("key", "ok", "accepted")]
    elif "address" in earlier:
        passed = [CheckResult("address", "ok", "reached")]
    return [*passed, CheckResult(failed_check, "fail", _format_error(error))]


def from_answer(answer: TimedAnswer, base_url: str, workspace: str | None) -> list[CheckResult]:
    """Return what a first answer tells, of everything but sessions."""
    workspace_text = (
        "none given, so the default one of the key" if workspace is None else f"{workspace}, accepted"
    )
    return [
        CheckResult("address", "ok", base_url),
        CheckResult("key", "ok", "accepted"),
        CheckResult("workspace", "ok", workspace_text),
        _check_application(answer),
        _check_streaming(answer),
        _check_thoughts(answer.message),
        _check_references(answer.message),
    ]


def from_second_turn(first: AIMessage, second: AIMessage | errors.BailianError | None) -> CheckResult:
    """Return what the second turn of a session tells; None if there was no session to go on with."""
    if second is None:
        text = "the answer names no session: keep conversations as messages (`history='messages'`)"
        return CheckResult("sessions", "fail", text)
    if isinstance(second, errors.BailianError):
        return CheckResult("sessions", "fail", f"a second turn was refused: {_format_error(second)}")
    ids = [message.response_metadata.get("session_id") for message in (first, second)]
    if ids[0] != ids[1]:
        text = (
            "the second turn was answered in another session, so the first one is not kept: a workflow "
            "must be a dialog workflow (对话型); else keep conversations as messages"
        )
        return CheckResult("sessions", "fail", text)
    return CheckResult("sessions", "ok", "a second turn went on in the same session")


def from_settings_error(check: str, problem: ValueError) -> CheckResult:
    """Return what a setting that cannot work tells."""
    return CheckResult(check, "fail", " ".join(str(problem).split()))


def skip_remaining(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the checks that were not made."""
    checked = {result.check for result in results}
    text = "not checked, because of what is wrong above"
    return [CheckResult(check, "skip", text) for check in CHECKS if check not in checked]


def _find_failed_check(error: errors.BailianError) -> str:
    family = (error.code or "").partition(".")[0]
    check = "application"
    if family in {"NOT AUTHORIZED", "Workspace", "WorkSpaceNotFound"}:
        check = "workspace"
    elif isinstance(error, errors.BailianAuthenticationError):
        check = "key"
    elif isinstance(error, errors.BailianStreamError):
        check = "streaming"
    elif isinstance(error, errors.BailianTimeoutError):
        # What certainly did not run never got there.
        check = "address" if error.is_retryable else "streaming"
    elif isinstance(error, errors.BailianConnectionError) or family == "NotFound":
        check = "address"
    return check


def _format_error(error: errors.BailianError) -> str:
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


def _check_application(answer: TimedAnswer) -> CheckResult:
    if not answer.message.text:
        text = (
            f"answered without any text in {answer.total_seconds:.1f} s: look at its prompt, or its End"
            " node"
        )
        return CheckResult("application", "warn", text)
    usage = answer.message.usage_metadata
    token_text = "tells no tokens" if usage is None else f"{usage['total_tokens']} tokens"
    model = answer.message.response_metadata["model_name"]
    return CheckResult(
        "application", "ok", f"answered in {answer.total_seconds:.1f} s ({model}, {token_text})"
    )


def _check_streaming(answer: TimedAnswer) -> CheckResult:
    if answer.text_chunks <= 1 and len(answer.message.text) > _SHORT_ANSWER_CHARS:
        text = (
            "the answer came in one piece: in a workflow switch on 流式输出 in a node and name it in "
            f"`answer_node`; else a proxy holds the stream back ({_PUBLISH_HINT})"
        )
        return CheckResult("streaming", "warn", text)
    if (
        answer.total_seconds > _SLOW_SECONDS
        and answer.total_seconds - answer.first_chunk_seconds < _BURST_SHARE * answer.total_seconds
    ):
        text = (
            f"{answer.text_chunks} pieces came all at once, after {answer.first_chunk_seconds:.1f} s: a"
            " proxy in between seems to collect the stream; let it pass `text/event-stream` unbuffered"
        )
        return CheckResult("streaming", "warn", text)
    text = (
        f"{answer.text_chunks} piece(s) of text, the first sign of an answer after "
        f"{answer.first_chunk_seconds:.1f} s"
    )
    return CheckResult("streaming", "ok", text)


def _check_thoughts(message: AIMessage) -> CheckResult:
    steps = [block["name"] for block in message.content_blocks if block["type"] == "server_tool_call"]
    nodes = {node.get("node_id") for node in message.additional_kwargs.get("nodes", ())}
    reasoning = message.additional_kwargs.get("reasoning_content", "")
    parts = [f"{len(steps)} step(s): {', '.join(steps)}"] if steps else []
    parts += [f"{len(nodes)} node(s)"] if nodes else []
    parts += [f"{len(reasoning)} characters of reasoning"] if reasoning else []
    if parts:
        return CheckResult("thoughts", "ok", "; ".join(parts))
    text = (
        "none came, though they were asked for: right for an application without knowledge, memory, "
        f"plugins and thinking; else {_PUBLISH_HINT}"
    )
    return CheckResult("thoughts", "warn", text)


def _check_references(message: AIMessage) -> CheckResult:
    references = message.additional_kwargs.get("doc_references")
    citations = message.additional_kwargs.get("citations", ())
    retrievals = passages_by_thought(message.additional_kwargs.get("thoughts", ()))
    passage_count = sum(map(len, retrievals))
    if references:
        text = f"{len(references)} source(s) named, {len(citations)} citation(s)"
        return CheckResult("references", "ok", text)
    if passage_count:
        text = (
            f"it found {passage_count} passage(s), but names no sources: switch on 展示回答来源 in the "
            f"console (show sources), and {_PUBLISH_HINT}"
        )
    elif retrievals:
        text = "it searched and found nothing: give `--question` something that its documents answer"
    else:
        text = (
            "it told of no search: right for an application without a knowledge base; else bind one "
            "(知识库), or give `--question` something that its documents answer"
        )
    return CheckResult("references", "warn", text)
