"""Token counts from the Qwen tokenizer in dashscope, without a request.

The counts are estimates. The application may use a model other than Qwen, and it adds text that is
unknown here: its own prompt, retrieved passages and memory.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_core.messages import BaseMessage

# `<|im_start|>role\n` before each message and `<|im_end|>\n` after it.
_TOKENS_PER_MESSAGE = 5


def encode_tokens(text: str) -> list[int]:
    """Return the token ids of `text`."""
    ids: list[int] = _load_tokenizer().encode(text)
    return ids


def count_message_tokens(messages: Iterable[BaseMessage]) -> int:
    """Return the number of tokens in the text of the messages, including separators."""
    return sum(len(encode_tokens(message.text)) + _TOKENS_PER_MESSAGE for message in messages)


@cache
def _load_tokenizer() -> Any:
    import dashscope

    return dashscope.get_tokenizer("qwen-plus")
