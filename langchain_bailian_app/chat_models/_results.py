"""Results of calls, with the metadata that callback handlers read.

Tracers and cost counters look for the model, the token usage and the finish reason in `llm_output` and
`generation_info`. LangChain merges both into the `response_metadata` of the message. So they only
repeat entries of `response_metadata`, and a message is the same however the application was called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatGeneration, ChatResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_core.messages import BaseMessage
    from langchain_core.messages.ai import UsageMetadata

_GENERATION_INFO = ("finish_reason", "model_name")
_LLM_OUTPUT = ("model_name", "token_usage")


def chat_result_from_message(message: BaseMessage) -> ChatResult:
    """Return a complete message as the result of a call."""
    generation = ChatGeneration(message=message, generation_info=generation_info_from_message(message))
    llm_output = _select(message, _LLM_OUTPUT)
    if not all(llm_output.get("token_usage", {}).values()):
        # OpenTelemetry's instrumentation fails if a count is 0, and then records nothing. Without this
        # entry, it reads `usage_metadata`.
        del llm_output["token_usage"]
    return ChatResult(generations=[generation], llm_output=llm_output)


def generation_info_from_message(message: BaseMessage) -> dict[str, Any]:
    """Return the `generation_info` of a complete message or of the last chunk of a stream."""
    return _select(message, _GENERATION_INFO)


def token_usage_from_usage_metadata(usage: UsageMetadata | None) -> dict[str, int] | None:
    """Return token counts under the names that OpenAI and LangChain's partner packages use."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }


def combine_llm_outputs(llm_outputs: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """Return the `llm_output` of several calls: the sum of their tokens, and the model of the last one.

    Answers from a cache have no `llm_output`.
    """
    combined: dict[str, Any] = {}
    for llm_output in filter(None, llm_outputs):
        token_usage = dict(combined.get("token_usage", {}))
        for name, count in llm_output.get("token_usage", {}).items():
            token_usage[name] = token_usage.get(name, 0) + count
        combined |= llm_output | ({"token_usage": token_usage} if token_usage else {})
    return combined


def _select(message: BaseMessage, keys: tuple[str, ...]) -> dict[str, Any]:
    metadata = message.response_metadata
    return {key: metadata[key] for key in keys if key in metadata}
