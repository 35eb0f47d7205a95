"""Storage of a turn: its round in the session, and the user's facts in long-term memory."""

from dataclasses import dataclass

from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator._completion.reply import RenderedReply
from langchain_bailian_app.emulator._http.exchange import HttpExchange
from langchain_bailian_app.emulator._state.memories import MemoryStore
from langchain_bailian_app.emulator._state.sessions import CloudSessions, Round, Session


@dataclass
class TurnPersistence:
    """Callbacks that save a turn at most once; after an abort, only if `keep_aborted` is set."""

    sessions: CloudSessions
    memories: MemoryStore
    session: Session
    turn: Turn
    reply: RenderedReply
    exchange: HttpExchange
    done: bool = False

    def on_complete(self) -> None:
        """Save the turn and the facts of a completed answer."""
        self._save(self.reply.text)
        if self.turn.memory_id is not None:
            self.memories.store_facts(self.turn.memory_id, self.turn.prompt)

    def on_abort(self) -> None:
        """Save or drop the turn of an answer that will not be completed."""
        if self.done:
            return
        frames_sent = self.exchange.record.frames_sent if self.exchange.wants_stream else 0
        if self.sessions.keep_aborted:
            self._save(self.reply.sent_text(frames_sent))
        self.done = True

    def _save(self, answer: str) -> None:
        self.sessions.add_round(self.session, Round(self.turn.prompt, answer))
        self.done = True
