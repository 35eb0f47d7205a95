"""Tests that `make demo` runs without settings, behind proxies, and with a configured application."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.emulator._apps.samples import WORKFLOW_APP_ID

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator

SCRIPT = Path(__file__).parents[3] / "examples" / "demo.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locale", "prefix", "last_question"),
    [
        ("zh_CN.UTF-8", "（本地模拟器）", "那么进口货物应当几日内申报？"),
        ("C.UTF-8", "(local emulator) ", "And what is its start?"),
    ],
)
def test_the_demo_runs_on_the_emulator_in_the_language_of_the_locale(
    locale: str, prefix: str, last_question: str
) -> None:
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
    result = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, **proxies, "PYTHONIOENCODING": "utf-8", "LC_ALL": locale},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )

    assert result.stderr == ""
    assert "local emulator" in result.stdout
    for part in ("thinking ", "step ", "answer ", "source [1]", "total_tokens"):
        assert part in result.stdout
    assert f"you {last_question}" in result.stdout
    answers = [line for line in result.stdout.splitlines() if line.startswith(f"app {prefix}")]
    assert len(answers) == len(set(answers)) == 3
    next_steps = result.stdout.rpartition("Next: ")[2]
    for part in ("DASHSCOPE_API_KEY", "BAILIAN_APP_ID", "DASHSCOPE_REGION", "doctor", "notebooks/"):
        assert part in next_steps


@pytest.mark.slow
def test_the_demo_calls_the_configured_application_the_stated_number_of_times(
    bailian: BailianEmulator,
) -> None:
    settings = {
        "DASHSCOPE_API_KEY": bailian.api_key,
        "DASHSCOPE_BASE_URL": bailian.base_url,
        "BAILIAN_APP_ID": WORKFLOW_APP_ID,
        "BIZ_PARAMS": '{"city": "杭州"}',
        "TOPIC": "西湖",
        "PYTHONIOENCODING": "utf-8",
    }
    count_before = len(bailian.requests)
    result = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, **settings},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )

    requests = bailian.requests[count_before:]
    target = f"{WORKFLOW_APP_ID} at {bailian.base_url}"
    assert f"Calling application {target} {len(requests)} times." in result.stdout
    assert all(request.body["input"]["biz_params"] == {"city": "杭州"} for request in requests)
    assert "西湖" in str(requests[0].body)
    assert "the search had no results" in result.stdout
