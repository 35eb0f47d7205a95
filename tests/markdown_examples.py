"""Runner of the Python blocks in Markdown documents: in order, in one namespace."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from typing import Any

_PYTHON_BLOCK = re.compile(r"^( *)```python.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def extract_python_blocks(text: str) -> list[str]:
    """Return the Python blocks of a Markdown text."""
    return [textwrap.dedent(block) for _, block in _PYTHON_BLOCK.findall(text)]


def run_python_blocks(text: str, name: str) -> int:
    """Run the Python blocks of a text, which may use `await`, and return their number."""
    namespace: dict[str, Any] = {}
    blocks = extract_python_blocks(text)
    code = compile("\n".join(blocks), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)  # noqa: S307  # our own documents
    if inspect.iscoroutine(result):  # the code contains an `await`
        asyncio.run(result)
    return len(blocks)
