"""Harness of the live checks: models, raw requests, and settings from the environment."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import httpx

from langchain_bailian_app import BailianAppChatModel
from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._settings.base_url import check_offers_runs, is_loopback
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport.credentials import resolve_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUIRED_VARIABLES = ("DASHSCOPE_API_KEY", "BAILIAN_APP_ID")
NAME_QUESTION = "我叫什么名字？只回答名字。"
_POLL_SECONDS = 2.0
_DIGITS = "一二三四五六七八九"


class CheckSkipped(Exception):  # noqa: N818 - not an error: the report states the reason
    """Raised when a check cannot run here; the message is the reason."""


class Outcome(NamedTuple):
    """The outcome of a check."""

    observation: str
    matches_assumption: bool | None = None
    """True if the service behaves as this package assumes; None if either behavior is handled."""


CheckFunction: TypeAlias = "Callable[[LiveHarness], Outcome]"


class LiveCheck(NamedTuple):
    """A check of one undocumented behavior of the service."""

    name: str
    question: str
    assumption: str
    """The behavior that this package assumes, or how it handles the uncertainty."""

    run: CheckFunction


class CheckRegistry(list[LiveCheck]):
    """The checks of one subject, in order."""

    def register(self, question: str, *, assumption: str) -> Callable[[CheckFunction], CheckFunction]:
        """Return a decorator that adds a check, named after its function."""

        def add(function: CheckFunction) -> CheckFunction:
            self.append(LiveCheck(function.__name__.replace("_", "-"), question, assumption, function))
            return function

        return add


@dataclass(frozen=True)
class RawResponse:
    """An unprocessed HTTP response."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The JSON of each frame, or of the body if it is not a stream."""
        if self.content.lstrip().startswith(b"{"):
            return [json.loads(self.content)]
        data = [line[5:] for line in self.content.split(b"\n") if line.startswith(b"data:")]
        return [json.loads(line) for line in data]

    def output_values(self, name: str) -> list[Any]:
        """Return the values of a field of `output` from all frames that have it."""
        outputs = [frame.get("output") or {} for frame in self.frames]
        return [output[name] for output in outputs if output.get(name)]

    @property
    def error_code(self) -> str:
        """The error code of the first frame with one; empty if there is no error."""
        return next((str(frame["code"]) for frame in self.frames if frame.get("code")), "")

    @property
    def text(self) -> str:
        """The text of the response: the joined increments of all frames."""
        return "".join(self.output_values("text"))


def _shuffled_names() -> Iterator[str]:
    """Return an iterator over names that a model cannot know, in random order."""
    names = [f"阿柚{first}{second}" for first in _DIGITS for second in _DIGITS]
    return iter(random.sample(names, len(names)))


@dataclass
class LiveHarness:
    """The application configured in the environment, and functions to call it."""

    expiry_hint: str = ""
    """Command that checks session expiry in a later run.

    Printed on the terminal only: a session id gives access to the session.
    """

    call_count: int = 0
    _unused_names: Iterator[str] = field(default_factory=_shuffled_names)
    _has_recall: bool | None = None

    def make_model(self, app_id: str | None = None, **fields: Any) -> BailianAppChatModel:
        """Return a model for one call, and count that call in `call_count`."""
        app_field = {} if app_id is None else {"app_id": app_id}
        self.call_count += 1
        return BailianAppChatModel(**{"max_retries": 0, "timeout": 60.0} | app_field | fields)

    def post(
        self,
        input_fields: dict[str, Any],
        parameters: dict[str, Any] | None = None,
        *,
        app_id: str | None = None,
        base_url: str | None = None,
        stream: bool = True,
        timeout: float = 60.0,
    ) -> RawResponse:
        """Send a request that the package itself would not send; return the unprocessed response."""
        connection = resolve_connection(ConnectionFields(base_url=base_url))
        headers = {"Authorization": f"Bearer {connection.api_key()}"}
        if connection.workspace:
            headers["X-DashScope-WorkSpace"] = connection.workspace
        incremental = {"incremental_output": True} if stream else {}
        if stream:
            headers["X-DashScope-SSE"] = "enable"
        self.call_count += 1
        url = f"{connection.base_url}/apps/{app_id or os.environ['BAILIAN_APP_ID']}/completion"
        body = {"input": input_fields, "parameters": incremental | (parameters or {})}
        is_remote = not is_loopback(url)
        with httpx.Client(timeout=timeout, trust_env=is_remote, verify=is_remote) as client:
            response = client.post(url, json=body, headers=headers)
        return RawResponse(response.status_code, dict(response.headers), response.content)

    def post_to_workspace(
        self, path: str, body: dict[str, Any], *, api_version: str = "v1"
    ) -> RawResponse:
        """Send a request to the host of the workspace; return the unprocessed response.

        Raises:
            CheckSkipped: The workspace is not set.
        """
        try:
            connection = resolve_connection(ConnectionFields(), requires_workspace_host=True)
        except ValueError as error:
            raise CheckSkipped(str(error)) from None
        headers = {"Authorization": f"Bearer {connection.api_key()}"}
        if connection.workspace:
            headers["X-DashScope-WorkSpace"] = connection.workspace
        self.call_count += 1
        root = connection.base_url.removesuffix("/v1")
        url = f"{root}/{api_version}/{path}"
        is_remote = not is_loopback(url)
        with httpx.Client(timeout=60, trust_env=is_remote, verify=is_remote) as client:
            response = client.post(url, json=body, headers=headers)
        return RawResponse(response.status_code, dict(response.headers), response.content)

    def send_to_runs(
        self,
        method: str,
        path: str = "",
        body: dict[str, Any] | None = None,
        *,
        app_id: str | None = None,
        base_url: str | None = None,
    ) -> RawResponse:
        """Send a request to the route of background runs; return the unprocessed response.

        Raises:
            CheckSkipped: The region does not offer background runs.
        """
        connection = resolve_connection(ConnectionFields(base_url=base_url))
        try:
            check_offers_runs(connection.base_url)
        except ValueError as error:
            raise CheckSkipped(str(error)) from None
        headers = {"Authorization": f"Bearer {connection.api_key()}"}
        if connection.workspace:
            headers["X-DashScope-WorkSpace"] = connection.workspace
        self.call_count += 1
        app_id = app_id or os.environ["BAILIAN_APP_ID"]
        root = ServiceRequest("", api_version="v2").find_root(connection.base_url)
        url = f"{root}/apps/agent/{app_id}/compatible-mode/v1/responses{path}"
        is_remote = not is_loopback(url)
        with httpx.Client(timeout=60, trust_env=is_remote, verify=is_remote) as client:
            response = client.request(method, url, json=body, headers=headers)
        return RawResponse(response.status_code, dict(response.headers), response.content)

    def pause(self) -> None:
        """Wait before the next query of a status; not on the emulator."""
        if not is_loopback(resolve_connection(ConnectionFields()).base_url):
            time.sleep(_POLL_SECONDS)

    def require_setting(self, name: str, description: str) -> str:
        """Return the setting `BAILIAN_LIVE_{name}`.

        Raises:
            CheckSkipped: It is not set.
        """
        value = os.environ.get(f"BAILIAN_LIVE_{name}")
        if not value:
            message = f"set BAILIAN_LIVE_{name} to {description}"
            raise CheckSkipped(message)
        return value

    def next_name(self) -> str:
        """Return a name that was not used before."""
        return next(self._unused_names)

    def require_recall(self) -> None:
        """Check that the application repeats a name from an earlier message.

        Raises:
            CheckSkipped: The application does not repeat it.
        """
        if self._has_recall is None:
            name = self.next_name()
            conversation = [
                ("human", format_introduction(name)),
                ("ai", "你好。"),
                ("human", NAME_QUESTION),
            ]
            self._has_recall = name in self.make_model().invoke(conversation).text
        if not self._has_recall:
            message = "the application does not repeat a name from an earlier message"
            raise CheckSkipped(message)


def format_introduction(name: str) -> str:
    """Return a message that introduces the user by a name."""
    return f"我叫{name}。"
