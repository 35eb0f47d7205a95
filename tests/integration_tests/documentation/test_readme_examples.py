"""Every Python block of the README and of the page on migration runs.

Code of other packages stands there in blocks marked `py`, which do not.
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
    asyncio.set_event_loop(None)  # or LlamaIndex would make a loop here, and leave it open
    text = (ROOT / page).read_text("utf-8")

    assert run_python_blocks(text, page) == text.count("```python")
    assert "滞报金是进口货物超过规定期限申报时" in capsys.readouterr().out
