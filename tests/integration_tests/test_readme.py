"""Every Python block of the README runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from langchain_bailian_app.emulator import BailianEmulator

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_runs(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", bailian.base_url)
    monkeypatch.setenv("BAILIAN_APP_ID", bailian.app_id)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    exec(compile("\n".join(blocks), "README.md", "exec"), {})  # noqa: S102

    assert len(blocks) == 10
    assert "滞报金是进口货物超过规定期限申报时" in capsys.readouterr().out
