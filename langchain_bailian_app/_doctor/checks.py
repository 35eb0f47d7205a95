"""Results of the doctor's checks, derived from the answers and errors of its calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from langchain_bailian_app import errors
from langchain_bailian_app._settings.base_url import find_request_timeout, is_in_singapore
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
"""All checks. Each check comes after the checks that it depends on."""

_SHORT_ANSWER_CHARS = 8  # an answer up to this length may arrive in one chunk
_SLOW_SECONDS = 2.0  # an answer that arrives all at once after this time was buffered
_BURST_SHARE = 0.1  # a buffered answer arrives within this share of the total time
_PUBLISH_HINT = "publish the application again"
_SINGAPORE_RESTRICTION = (
    "in Singapore, only accounts that created an application there before 2025-04-21 can use "
    "applications"
)


class CheckResult(NamedTuple):
    """Result of a check."""

    check: str
    state: Literal["ok", "warn", "fail", "skip"]
    """`warn` may be normal: an application without a knowledge base returns no sources."""

    message: str
    """The finding, then the advice if something may be wrong."""


@dataclass(frozen=True)
class TimedAnswer:
    """An answer and the times at which it arrived."""

    message: AIMessage
    text_chunks: int
    """Number of chunks that contain text."""

    first_chunk_seconds: float
    """Seconds from the request to the first chunk: text, reasoning or a step."""

    total_seconds: float
    """Seconds from the request to the last chunk."""


def from_error(error: errors.BailianError, base_url: str) -> list[CheckResult]:
    """Return the results for a failed first call: the failed check, and the checks passed before it."""
    failed_check = _find_failed_check(error)
    earlier = CHECKS[: CHECKS.index(failed_check)]
    passed = []
    if "key" in earlier:
        passed = [CheckResult("address", "ok", "reached"), CheckResult("key", "ok", "accepted")]
    elif "address" in earlier:
        passed = [CheckResult("address", "ok", "reached")]
    message = _format_error(error)
    if failed_check == "application" and is_in_singapore(base_url):
        message = f"{message}; {_SINGAPORE_RESTRICTION}"
    return [*passed, CheckResult(failed_check, "fail", message)]


def from_answer(answer: TimedAnswer, base_url: str, workspace: str | None) -> list[CheckResult]:
    """Return the results for the first answer: all checks except `sessions`."""
    workspace_text = (
        "not set; the default workspace of the key is used"
        if workspace is None
        else f"{workspace}, accepted"
    )
    return [
        CheckResult("address", "ok", _describe_address(base_url)),
        CheckResult("key", "ok", "accepted"),
        CheckResult("workspace", "ok", workspace_text),
        _check_application(answer),
        _check_streaming(answer),
        _check_thoughts(answer.message),
        _check_references(answer.message),
    ]


def from_second_turn(first: AIMessage, second: AIMessage | errors.BailianError | None) -> CheckResult:
    """Return the result for `sessions`; `second` is None if the first answer has no session id."""
    if second is None:
        text = "the answer contains no session id; use `history='messages'` for conversations"
        return CheckResult("sessions", "fail", text)
    if isinstance(second, errors.BailianError):
        return CheckResult("sessions", "fail", f"the second turn failed: {_format_error(second)}")
    ids = [message.response_metadata.get("session_id") for message in (first, second)]
    if ids[0] != ids[1]:
        text = (
            "the second turn was answered in another session, so the first session was not kept; if "
            "the application is a workflow, make it a 对话型 (dialog) workflow, otherwise use "
            "`history='messages'` for conversations"
        )
        return CheckResult("sessions", "fail", text)
    return CheckResult("sessions", "ok", "the second turn continued the same session")


def from_settings_error(check: str, problem: ValueError) -> CheckResult:
    """Return the result for an invalid setting."""
    return CheckResult(check, "fail", str(problem))


def skip_remaining(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the results of the checks that were not run."""
    checked = {result.check for result in results}
    text = "not checked because of the failure above"
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
        # A request that certainly did not run did not reach the service.
        check = "address" if error.is_retryable else "streaming"
    elif isinstance(error, errors.BailianConnectionError) or family == "NotFound":
        check = "address"
    return check


def _format_error(error: errors.BailianError) -> str:
    """Return an error, with advice if its message contains none."""
    advice = ""
    match error:
        case errors.BailianTimeoutError() if not error.is_retryable:
            advice = "; pass a longer `--timeout` for a reasoning model, otherwise try again later"
        case errors.BailianStreamError():
            advice = "; check for a proxy that interrupts the stream, or a workflow node that fails"
        case errors.BailianConnectionError():
            advice = "; check the network, the proxy and DASHSCOPE_BASE_URL"
        case errors.BailianRequestError() if "biz_params" in str(error):
            advice = """; pass them with `--biz-params '{"city": "杭州"}'`"""
        case errors.BailianRateLimitError() | errors.BailianServerError():
            advice = "; try again later"
    return f"{error}{advice}"


def _describe_address(base_url: str) -> str:
    """Return the address, with the restrictions that the documentation mentions."""
    parts = [base_url]
    if seconds := find_request_timeout(base_url):
        parts.append(
            f"a request may take {seconds:,} s (documented for models, unverified for applications)"
        )
    if is_in_singapore(base_url):
        parts.append(_SINGAPORE_RESTRICTION)
    return "; ".join(parts)


def _check_application(answer: TimedAnswer) -> CheckResult:
    if not answer.message.text:
        text = (
            f"answered in {answer.total_seconds:.1f} s, but without any text; check the prompt of the "
            "application, or the End node of a workflow"
        )
        return CheckResult("application", "warn", text)
    usage = answer.message.usage_metadata
    token_text = "no token usage reported" if usage is None else f"{usage['total_tokens']} tokens"
    model = answer.message.response_metadata["model_name"]
    return CheckResult(
        "application", "ok", f"answered in {answer.total_seconds:.1f} s ({model}, {token_text})"
    )


def _check_streaming(answer: TimedAnswer) -> CheckResult:
    if answer.text_chunks <= 1 and len(answer.message.text) > _SHORT_ANSWER_CHARS:
        text = (
            "the answer arrived in one piece; in a workflow, turn on 流式输出 (streaming "
            "output) for a node, publish the workflow again, and set `answer_node` to the node; "
            "otherwise check for a buffering proxy"
        )
        return CheckResult("streaming", "warn", text)
    if (
        answer.total_seconds > _SLOW_SECONDS
        and answer.total_seconds - answer.first_chunk_seconds < _BURST_SHARE * answer.total_seconds
    ):
        text = (
            f"{answer.text_chunks} chunks arrived at once, after {answer.first_chunk_seconds:.1f} s; "
            "check for a proxy that buffers the stream: it must pass `text/event-stream` unbuffered"
        )
        return CheckResult("streaming", "warn", text)
    text = (
        f"{answer.text_chunks} chunk(s) of text, first output after {answer.first_chunk_seconds:.1f} s"
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
        "requested, but none received: normal for an application without a knowledge base, memory, "
        f"plugins or reasoning; otherwise {_PUBLISH_HINT}"
    )
    return CheckResult("thoughts", "warn", text)


def _check_references(message: AIMessage) -> CheckResult:
    references = message.additional_kwargs.get("doc_references")
    citations = message.additional_kwargs.get("citations", ())
    retrievals = passages_by_thought(message.additional_kwargs.get("thoughts", ()))
    passage_count = sum(map(len, retrievals))
    if references:
        text = f"{len(references)} source(s), {len(citations)} citation(s)"
        return CheckResult("references", "ok", text)
    if passage_count:
        text = (
            f"{passage_count} passage(s) found, but no sources received; turn on 展示回答来源 (show "
            f"answer sources) in the console, then {_PUBLISH_HINT}"
        )
    elif retrievals:
        text = "the search found nothing; pass a `--question` that the documents answer"
    else:
        text = (
            "no search reported: normal for an application without a knowledge base; otherwise bind "
            "a 知识库 (knowledge base), or pass a `--question` that its documents answer"
        )
    return CheckResult("references", "warn", text)
