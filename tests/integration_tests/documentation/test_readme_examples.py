"""Tests that the Python blocks of the README and of the migration page run.

Code for other packages is in blocks marked `py`, which are not run.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.markdown_examples import run_python_blocks

ROOT = Path(__file__).parents[3]


@pytest.mark.usefixtures("connected_environment")
@pytest.mark.parametrize("page", ["README.md", "docs/migration.md"])
def test_the_page_runs(
    page: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # one of the blocks writes a file
    asyncio.set_event_loop(None)  # otherwise LlamaIndex creates a loop here and leaves it open
    text = (ROOT / page).read_text("utf-8")

    assert run_python_blocks(text, page) == text.count("```python")
    assert "滞报金是进口货物超过规定期限申报时" in capsys.readouterr().out
