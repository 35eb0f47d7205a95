"""Ask the live service: `make live`. An unexpected answer is told in the report, and is no failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.live.harness import NEEDED, Lab
from tests.live.report import QUESTIONS, Answered, answered

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live.harness import Question

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not all(map(os.environ.get, NEEDED)), reason=f"needs {' and '.join(NEEDED)}"),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_the_live_service_answers(
    question: Question, lab: Lab, note: Callable[[Answered], None]
) -> None:
    answer = answered(question, lab)
    note(answer)
    if not answer.was_asked:
        pytest.skip(answer.told)
