"""Python blocks of documents, run as their readers would: one after the other, in one namespace."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from typing import Any

_PYTHON_BLOCK = re.compile(r"^( *)```python.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def extract_python_blocks(text: str) -> list[str]:
    """Return the blocks of a text in Markdown."""
    return [textwrap.dedent(block) for _, block in _PYTHON_BLOCK.findall(text)]


def run_python_blocks(text: str, name: str) -> int:
    """Run the blocks of a text, `await` included, and return how many there are."""
    namespace: dict[str, Any] = {}
    blocks = extract_python_blocks(text)
    code = compile("\n".join(blocks), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)  # noqa: S307  # of ours
    if inspect.iscoroutine(result):  # there is an `await` in it
        asyncio.run(result)
    return len(blocks)
