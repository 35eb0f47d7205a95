"""Every Python block of the README runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.usefixtures("connected_environment")
def test_the_readme_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # one of the blocks writes a file
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    exec(compile("\n".join(blocks), "README.md", "exec"), {})  # noqa: S102

    assert len(blocks) == README.read_text("utf-8").count("```python")
    assert "滞报金是进口货物超过规定期限申报时" in capsys.readouterr().out
