"""Token counts by the Qwen tokenizer that dashscope ships, without a request.

The counts are estimates: the application may use another model than Qwen, and the text that it adds
(its own prompt, retrieved passages, memory) is unknown here.
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
    """Return the token ids of a text."""
    ids: list[int] = _load_tokenizer().encode(text)
    return ids


def count_message_tokens(messages: Iterable[BaseMessage]) -> int:
    """Return the number of tokens of the messages' texts and of the separators between them."""
    return sum(len(encode_tokens(message.text)) + _TOKENS_PER_MESSAGE for message in messages)


@cache
def _load_tokenizer() -> Any:
    import dashscope

    return dashscope.get_tokenizer("qwen-plus")
