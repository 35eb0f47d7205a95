"""Ask the live service: `make live`. An unexpected answer is told in the report, and is no failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.live.harness import REQUIRED_VARIABLES, Harness
from tests.live.report import CHECKS, CheckResult, run_check

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
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_live_service_answers(
    check: LiveCheck, harness: Harness, record_result: Callable[[CheckResult], None]
) -> None:
    result = run_check(check, harness)
    record_result(result)
    if not result.was_run:
        pytest.skip(result.observation)
