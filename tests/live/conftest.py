"""The live tests keep the environment, and print their report at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live.harness import LiveHarness
from tests.live.report import LiveCheckResult, render_report

if TYPE_CHECKING:
    from collections.abc import Callable

_harness, _results = LiveHarness(), list[LiveCheckResult]()


@pytest.fixture(autouse=True)
def clean_environment() -> None:
    """Leave keys and settings where they are."""


@pytest.fixture
def harness() -> LiveHarness:
    """Return what questions may use."""
    return _harness


@pytest.fixture
def record_result() -> Callable[[LiveCheckResult], None]:
    """Return what puts an answer into the report."""
    return _results.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report."""
    if _results:
        terminalreporter.write_line(f"\n{render_report(_results, _harness)}")
        if _harness.expiry_hint:
            terminalreporter.write_line(
                f"To ask about expiry (keep this to yourself):\n{_harness.expiry_hint}"
            )
