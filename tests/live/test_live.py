"""Runner of the live checks: `make live`. Unexpected behavior is reported, but does not fail a test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.live.harness import REQUIRED_VARIABLES, LiveHarness
from tests.live.report import LIVE_CHECKS, LiveCheckResult, run_check

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live.harness import LiveCheck

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not all(map(os.environ.get, REQUIRED_VARIABLES)),
        reason=f"needs {' and '.join(REQUIRED_VARIABLES)}",
    ),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("check", LIVE_CHECKS, ids=lambda check: check.name)
def test_the_live_service_answers(
    check: LiveCheck, harness: LiveHarness, record_result: Callable[[LiveCheckResult], None]
) -> None:
    result = run_check(check, harness)
    record_result(result)
    if not result.was_run:
        pytest.skip(result.observation)
