"""Token counts without a request, by the Qwen tokenizer that dashscope ships: an estimate.

What an application sends to its model (its own prompt, retrieved passages, memory) is not known here,
nor need its model be a Qwen.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_core.messages import BaseMessage

# `<|im_start|>role\n` in front of each message and `<|im_end|>\n` behind it.
_TOKENS_PER_MESSAGE = 5


def encode_tokens(text: str) -> list[int]:
    """Return the tokens of a text."""
    ids: list[int] = _load_tokenizer().encode(text)
    return ids


def count_message_tokens(messages: Iterable[BaseMessage]) -> int:
    """Return the number of tokens of the texts of messages, and of what separates them."""
    return sum(len(encode_tokens(message.text)) + _TOKENS_PER_MESSAGE for message in messages)


@cache
def _load_tokenizer() -> Any:
    import dashscope

    return dashscope.get_tokenizer("qwen-plus")
