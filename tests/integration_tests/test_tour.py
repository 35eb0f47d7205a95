"""`make demo` works as it is, also with proxies in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOUR = Path(__file__).parents[2] / "examples" / "tour.py"


def test_the_tour_runs_on_the_emulator_and_says_so() -> None:
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, str(TOUR)],
        env={**os.environ, **proxies, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )

    assert done.stderr == ""
    assert "local emulator" in done.stdout
    assert "BAILIAN_APP_ID" in done.stdout
    for part in ("thinking ", "step ", "answer ", "source [1]", "total_tokens"):
        assert part in done.stdout
