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
from langchain_bailian_app._transport.credentials import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEEDED = ("DASHSCOPE_API_KEY", "BAILIAN_APP_ID")
_DIGITS = "一二三四五六七八九"


class CannotAsk(Exception):  # noqa: N818 - no error: the report says why
    """This question cannot be asked here, and why."""


class Outcome(NamedTuple):
    """An answer of the service."""

    told: str
    as_assumed: bool | None = None
    """Whether this package works on that; None if it works either way."""


Ask: TypeAlias = "Callable[[Lab], Outcome]"


class Question(NamedTuple):
    """One thing that nobody has told us about the service."""

    name: str
    text: str
    assumed: str
    """What this package does about it."""

    ask: Ask


class Questions(list[Question]):
    """All questions on a subject, in their order."""

    def about(self, text: str, *, assumed: str) -> Callable[[Ask], Ask]:
        """Return a decorator that adds a question, named as its function."""

        def add(ask: Ask) -> Ask:
            self.append(Question(ask.__name__.replace("_", "-"), text, assumed, ask))
            return ask

        return add


@dataclass(frozen=True)
class Reply:
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

    def outputs(self, name: str) -> list[Any]:
        """What the frames have under a name of their `output`, where they have it."""
        outputs = [frame.get("output") or {} for frame in self.frames]
        return [output[name] for output in outputs if output.get(name)]

    @property
    def code(self) -> str:
        """The code of an error, wherever it stands; empty if there is none."""
        return next((str(frame["code"]) for frame in self.frames if frame.get("code")), "")

    @property
    def text(self) -> str:
        """The increments of its text."""
        return "".join(self.outputs("text"))


def _names() -> Iterator[str]:
    """Yield names that a model has not heard before, in another order each time."""
    names = [f"阿柚{one}{other}" for one in _DIGITS for other in _DIGITS]
    return iter(random.sample(names, len(names)))


@dataclass
class Lab:
    """The application of the environment, and how to ask it."""

    expiry_hint: str = ""
    """How to ask about expiry in a later run; for the terminal, since a session id is a key."""

    calls: int = 0
    _names: Iterator[str] = field(default_factory=_names)
    _recalls: bool | None = None

    def model(self, app_id: str | None = None, **fields: Any) -> BailianAppChatModel:
        """Return a model; every call on it is to be counted by `counted`."""
        given = {} if app_id is None else {"app_id": app_id}
        self.calls += 1
        return BailianAppChatModel(**{"max_retries": 0, "timeout": 60.0} | given | fields)

    def post(
        self,
        given: dict[str, Any],
        parameters: dict[str, Any] | None = None,
        *,
        app_id: str | None = None,
        stream: bool = True,
    ) -> Reply:
        """Send a request that the package would not send, and return the reply as it came."""
        connection = resolve(ConnectionFields())
        headers = {"Authorization": f"Bearer {connection.api_key()}"}
        if connection.workspace:
            headers["X-DashScope-WorkSpace"] = connection.workspace
        incremental = {"incremental_output": True} if stream else {}
        if stream:
            headers["X-DashScope-SSE"] = "enable"
        self.calls += 1
        url = f"{connection.base_url}/apps/{app_id or os.environ['BAILIAN_APP_ID']}/completion"
        body = {"input": given, "parameters": incremental | (parameters or {})}
        elsewhere = not is_loopback(url)
        with httpx.Client(timeout=60, trust_env=elsewhere, verify=elsewhere) as client:
            reply = client.post(url, json=body, headers=headers)
        return Reply(reply.status_code, dict(reply.headers), reply.content)

    def setting(self, name: str, what: str) -> str:
        """Return a setting of who asks.

        Raises:
            CannotAsk: There is none.
        """
        value = os.environ.get(f"BAILIAN_LIVE_{name}")
        if not value:
            message = f"needs BAILIAN_LIVE_{name}: {what}"
            raise CannotAsk(message)
        return value

    def name(self) -> str:
        """Return a name that was not told before."""
        return next(self._names)

    def needs_recall(self) -> None:
        """Make sure that the application says a name that it was just told.

        Raises:
            CannotAsk: It does not.
        """
        if self._recalls is None:
            name = self.name()
            conversation = [("human", introduction(name)), ("ai", "你好。"), ("human", WHO)]
            self._recalls = name in self.model().invoke(conversation).text
        if not self._recalls:
            message = "the application does not repeat a name that it was told a message before"
            raise CannotAsk(message)


WHO = "我叫什么名字？只回答名字。"


def introduction(name: str) -> str:
    """Tell a name."""
    return f"我叫{name}。"
