"""What a question is, and what it may use: models, raw requests, and settings of who asks."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import httpx

from langchain_bailian_app import BailianAppChatModel
from langchain_bailian_app._settings.base_url import is_loopback
from langchain_bailian_app._settings.connection import ConnectionFields
from langchain_bailian_app._transport.credentials import resolve_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUIRED_VARIABLES = ("DASHSCOPE_API_KEY", "BAILIAN_APP_ID")
NAME_QUESTION = "我叫什么名字？只回答名字。"
_DIGITS = "一二三四五六七八九"


class CheckSkipped(Exception):  # noqa: N818 - no error: the report says why
    """This question cannot be asked here, and why."""


class Outcome(NamedTuple):
    """An answer of the service."""

    observation: str
    matches_assumption: bool | None = None
    """Whether this package works on that; None if it works either way."""


CheckFunction: TypeAlias = "Callable[[LiveHarness], Outcome]"


class LiveCheck(NamedTuple):
    """One thing that nobody has told us about the service."""

    name: str
    question: str
    assumption: str
    """What this package does about it."""

    run: CheckFunction


class CheckRegistry(list[LiveCheck]):
    """All questions on a subject, in their order."""

    def register(self, question: str, *, assumption: str) -> Callable[[CheckFunction], CheckFunction]:
        """Return a decorator that adds a question, named as its function."""

        def add(function: CheckFunction) -> CheckFunction:
            self.append(LiveCheck(function.__name__.replace("_", "-"), question, assumption, function))
            return function

        return add


@dataclass(frozen=True)
class RawResponse:
    """A reply as it came."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The JSON of each frame, or of the whole reply."""
        if self.content.lstrip().startswith(b"{"):
            return [json.loads(self.content)]
        data = [line[5:] for line in self.content.split(b"\n") if line.startswith(b"data:")]
        return [json.loads(line) for line in data]

    def output_values(self, name: str) -> list[Any]:
        """What the frames have under a name of their `output`, where they have it."""
        outputs = [frame.get("output") or {} for frame in self.frames]
        return [output[name] for output in outputs if output.get(name)]

    @property
    def error_code(self) -> str:
        """The code of an error, wherever it stands; empty if there is none."""
        return next((str(frame["code"]) for frame in self.frames if frame.get("code")), "")

    @property
    def text(self) -> str:
        """The increments of its text."""
        return "".join(self.output_values("text"))


def _shuffled_names() -> Iterator[str]:
    """Yield names that a model has not heard before, in another order each time."""
    names = [f"阿柚{first}{second}" for first in _DIGITS for second in _DIGITS]
    return iter(random.sample(names, len(names)))


@dataclass
class LiveHarness:
    """The application of the environment, and how to ask it."""

    expiry_hint: str = ""
    """How to ask about expiry in a later run; for the terminal, since a session id is a key."""

    call_count: int = 0
    _unused_names: Iterator[str] = field(default_factory=_shuffled_names)
    _has_recall: bool | None = None

    def make_model(self, app_id: str | None = None, **fields: Any) -> BailianAppChatModel:
        """Return a model for one call, which is counted in `call_count`."""
        app_field = {} if app_id is None else {"app_id": app_id}
        self.call_count += 1
        return BailianAppChatModel(**{"max_retries": 0, "timeout": 60.0} | app_field | fields)

    def post(
        self,
        input_fields: dict[str, Any],
        parameters: dict[str, Any] | None = None,
        *,
        app_id: str | None = None,
        stream: bool = True,
    ) -> RawResponse:
        """Send a request that the package would not send, and return the reply as it came."""
        connection = resolve_connection(ConnectionFields())
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
        with httpx.Client(timeout=60, trust_env=is_remote, verify=is_remote) as client:
            response = client.post(url, json=body, headers=headers)
        return RawResponse(response.status_code, dict(response.headers), response.content)

    def require_setting(self, name: str, description: str) -> str:
        """Return a setting of who asks.

        Raises:
            CheckSkipped: There is none.
        """
        value = os.environ.get(f"BAILIAN_LIVE_{name}")
        if not value:
            message = f"needs BAILIAN_LIVE_{name}: {description}"
            raise CheckSkipped(message)
        return value

    def next_name(self) -> str:
        """Return a name that was not told before."""
        return next(self._unused_names)

    def require_recall(self) -> None:
        """Make sure that the application says a name that it was just told.

        Raises:
            CheckSkipped: It does not.
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
            message = "the application does not repeat a name that it was told a message before"
            raise CheckSkipped(message)


def format_introduction(name: str) -> str:
    """Tell a name."""
    return f"我叫{name}。"
