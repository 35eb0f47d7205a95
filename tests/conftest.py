"""Fixtures for all tests: a clean environment, one shared emulator, and models connected to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from alibabacloud_credentials.utils import auth_util

from langchain_bailian_app import BailianAppChatModel
from langchain_bailian_app.emulator import App, BailianEmulator
from tests.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from langchain_bailian_app.emulator import Reply
    from langchain_bailian_app.emulator._apps.app import Answer

_PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use more processes than cores, because many tests wait for a timeout."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide keys, proxies and configuration of the machine that runs the tests."""
    for name in list(os.environ):
        if (
            name.startswith(("DASHSCOPE_", "BAILIAN_", "ALIBABA_CLOUD_"))
            or name.lower() in _PROXY_VARIABLES
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def bailian() -> Iterator[BailianEmulator]:
    """Run the emulator."""
    with BailianEmulator() as emulator:
        yield emulator


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test controls."""
    return Clock()


@pytest.fixture
def connected_environment(bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that configure connections to the emulator."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", bailian.api_key)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", bailian.base_url)
    monkeypatch.setenv("BAILIAN_APP_ID", bailian.app_id)
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "emulator")
    monkeypatch.setenv("BAILIAN_OPENAPI_ENDPOINT", bailian.openapi_endpoint)
    # Alibaba Cloud's credential chain reads the environment when it is imported.
    monkeypatch.setattr(auth_util, "environment_access_key_id", bailian.access_key_id)
    monkeypatch.setattr(auth_util, "environment_access_key_secret", bailian.access_key_secret)


@pytest.fixture
def make_model(bailian: BailianEmulator) -> Callable[..., BailianAppChatModel]:
    """Return a function that creates models connected to the emulator."""

    def make(app_id: str = bailian.app_id, **fields: object) -> BailianAppChatModel:
        return BailianAppChatModel(
            app_id=app_id, **{"base_url": bailian.base_url, "api_key": bailian.api_key} | fields
        )

    return make


@pytest.fixture
def make_scripted_model(
    bailian: BailianEmulator, make_model: Callable[..., BailianAppChatModel]
) -> Iterator[Callable[..., BailianAppChatModel]]:
    """Return a function that creates models for an application with the given answers.

    The application repeats the last answer.
    """
    app_ids: list[str] = []

    def make(*answers: str | Reply, **fields: Any) -> BailianAppChatModel:
        remaining = list(answers)
        answer: Answer = lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0]  # noqa: E731
        app_ids.append(bailian.add_app(App("scripted", answer=answer)))
        bailian.reset()
        return make_model(app_ids[-1], **fields)

    yield make
    for app_id in app_ids:
        del bailian.apps[app_id]
