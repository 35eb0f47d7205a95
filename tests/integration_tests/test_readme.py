"""Every Python block of the README runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blocks import run

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.usefixtures("connected_environment")
def test_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    count = run(README.read_text("utf-8"), "README.md")

    assert count == 11
    assert "滞报金是进口货物超过规定期限申报时" in capsys.readouterr().out
