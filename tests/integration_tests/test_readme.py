"""Every Python block of the README runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.blocks import run

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.usefixtures("connected_environment")
def test_the_readme_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # one of the blocks writes a file
    asyncio.set_event_loop(None)  # or LlamaIndex would make a loop here, and leave it open
    text = README.read_text("utf-8")

    assert run(text, "README.md") == text.count("```python")
    assert "滞报金是进口货物超过规定期限申报时" in capsys.readouterr().out
