"""The live tests keep the environment, and print their report at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live.harness import Lab
from tests.live.report import Answered, report

if TYPE_CHECKING:
    from collections.abc import Callable

_lab, _answers = Lab(), list[Answered]()


@pytest.fixture(autouse=True)
def clean_environment() -> None:
    """Leave keys and settings where they are."""


@pytest.fixture
def lab() -> Lab:
    """Return what questions may use."""
    return _lab


@pytest.fixture
def note() -> Callable[[Answered], None]:
    """Return what puts an answer into the report."""
    return _answers.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report."""
    if _answers:
        terminalreporter.write_line(f"\n{report(_answers, _lab)}")
        if _lab.expiry_hint:
            terminalreporter.write_line(
                f"To ask about expiry (keep this to yourself):\n{_lab.expiry_hint}"
            )
