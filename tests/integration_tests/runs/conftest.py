"""Fixtures of the tests of background runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app import BailianAppChatModel
from langchain_bailian_app.emulator import App, BailianEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clock import Clock


@pytest.fixture
def bailian(clock: Clock) -> Iterator[BailianEmulator]:
    """Run an emulator of its own, because tests change its switches."""
    with BailianEmulator(clock=clock) as emulator:
        yield emulator


@pytest.fixture
def make_run_model(bailian: BailianEmulator) -> Callable[..., BailianAppChatModel]:
    """Return a function that adds an application and returns a model for it."""

    def make(answer: Any = "好。", app: dict[str, Any] | None = None, **fields: Any) -> Any:
        app_id = bailian.add_app(App("background", answer=answer, **(app or {})))
        connection = {"base_url": bailian.base_url, "api_key": bailian.api_key}
        return BailianAppChatModel(**{"app_id": app_id} | connection | fields)

    return make
