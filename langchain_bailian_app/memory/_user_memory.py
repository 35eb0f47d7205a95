"""`BailianUserMemory`: what a conversation recalls about its user, and stores for later ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app.memory._background_writer import BackgroundWriter
from langchain_bailian_app.memory._library import BailianMemoryLibrary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app.memory._records import LibraryNode
    from langchain_bailian_app.memory._requests import AddOptions, SearchOptions

_logger = logging.getLogger("langchain_bailian_app")
_MAX_USER_ID_CHARS = 64  # documented


class BailianUserMemory:
    """Recalls facts about a user before an answer, and stores the turn after it.

    `BailianMemoryMiddleware`, `RunnableWithBailianMemory` and your own code can share one object. A
    failure of the memory is logged, and never costs the answer: `recall` then returns nothing. Turns
    are stored in the background, so that answers are not delayed. `flush` waits for them, and the end
    of the process does so for at most 10 seconds.

    A fact can be recalled about half a minute after the turn, because the service extracts it first.

    Instantiate:
        ```python
        from langchain_bailian_app.memory import BailianMemoryLibrary, BailianUserMemory

        memory = BailianUserMemory(BailianMemoryLibrary())
        ```

    Use:
        ```python
        memory.remember("xiaoming", "我喜欢爬山。", "记住了。")
        memory.flush()
        facts = memory.recall("xiaoming", "周末做什么？")
        ```

    Args:
        library: The memory library. Default: the default library of the account.
        search_options: Options of `BailianMemoryLibrary.search`, such as `{"top_k": 5}`.
        add_options: Options of `BailianMemoryLibrary.submit`, such as `{"project_id": "…"}`.
    """

    def __init__(
        self,
        library: BailianMemoryLibrary | None = None,
        *,
        search_options: SearchOptions | None = None,
        add_options: AddOptions | None = None,
    ) -> None:
        self.library = BailianMemoryLibrary() if library is None else library
        self._search_options: dict[str, Any] = dict(search_options or {})
        self._add_options: dict[str, Any] = dict(add_options or {})
        self._writer = BackgroundWriter()

    def recall(self, user_id: str, question: str) -> list[str]:
        """Return the facts about a user that fit a question, the best first.

        Raises:
            ValueError: The user id is missing or invalid; nothing was sent.
        """
        check_user_id(user_id)
        if not question.strip():
            return []
        try:
            return _read_facts(self.library.search(user_id, question, **self._search_options).nodes)
        except Exception:
            _logger.warning("memories could not be recalled", exc_info=True)
            return []

    async def arecall(self, user_id: str, question: str) -> list[str]:
        """Async version of `recall`."""
        check_user_id(user_id)
        if not question.strip():
            return []
        try:
            found = await self.library.asearch(user_id, question, **self._search_options)
            return _read_facts(found.nodes)
        except Exception:
            _logger.warning("memories could not be recalled", exc_info=True)
            return []

    def remember(self, user_id: str, question: str, answer: str) -> None:
        """Store a turn in the background, and return at once.

        Raises:
            ValueError: The user id is missing or invalid; nothing was sent.
        """
        check_user_id(user_id)
        if not question.strip():
            return
        messages: list[BaseMessage] = [HumanMessage(question)]
        if answer.strip():
            messages.append(AIMessage(answer))
        self._writer.add(lambda: self._store(user_id, messages))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all turns were sent; return whether they were within `timeout` seconds.

        The service extracts facts after that, which takes about 30 seconds.
        """
        return self._writer.flush(timeout)

    async def aflush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # as in `flush`
        """Async version of `flush`."""
        return await self._writer.aflush(timeout)

    def _store(self, user_id: str, messages: list[BaseMessage]) -> None:
        self.library.submit(user_id, messages, **self._add_options)


def check_user_id(user_id: object) -> str:
    """Return a valid user id.

    Without this check, all users whose id is missing would share one memory.

    Raises:
        ValueError: The id is missing, empty or too long.
    """
    if not isinstance(user_id, str) or not user_id.strip() or len(user_id) > _MAX_USER_ID_CHARS:
        got = "nothing" if user_id in (None, "") else f"{type(user_id).__name__} {user_id!r:.80}"
        message = (
            f"invalid `user_id`: expected a text of 1 to {_MAX_USER_ID_CHARS} characters, got {got}; "
            "pass the id of the user, from your own authentication"
        )
        raise ValueError(message)
    return user_id


def user_id_from_configurable(configurable: Mapping[str, Any] | None) -> str:
    """Return the user id in the `configurable` of a config.

    Raises:
        ValueError: It is missing or invalid.
    """
    user_id = (configurable or {}).get("user_id")
    return check_user_id(str(user_id) if isinstance(user_id, int) else user_id)


def _read_facts(nodes: Any) -> list[str]:
    facts: list[LibraryNode] = list(nodes)
    return list(dict.fromkeys(node.content for node in facts if node.content))
