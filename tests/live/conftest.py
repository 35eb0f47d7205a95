"""Fixtures of the live checks, and the report printed at the end of a run."""

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
    """Keep keys and settings of the environment, which other tests remove."""


@pytest.fixture
def harness() -> LiveHarness:
    """Return the harness for the checks."""
    return _harness


@pytest.fixture
def record_result() -> Callable[[LiveCheckResult], None]:
    """Return a function that adds a result to the report."""
    return _results.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report."""
    if _results:
        terminalreporter.write_line(f"\n{render_report(_results, _harness)}")
        if _harness.expiry_hint:
            terminalreporter.write_line(
                f"To check session expiry (do not share this line):\n{_harness.expiry_hint}"
            )
