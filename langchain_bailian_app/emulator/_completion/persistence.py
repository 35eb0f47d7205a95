"""What an answer leaves behind: its turn in the session, and what the user told in long-term memory."""

from dataclasses import dataclass

from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator._completion.reply import Composed
from langchain_bailian_app.emulator._http.exchange import Exchange
from langchain_bailian_app.emulator._state.memories import MemoryStore
from langchain_bailian_app.emulator._state.sessions import Round, Session, SessionStore


@dataclass
class Remains:
    """What an answer leaves behind, once: the turn and a memory, or as much as the switch says."""

    sessions: SessionStore
    memories: MemoryStore
    session: Session
    turn: Turn
    composition: Composed
    exchange: Exchange
    settled: bool = False

    def keep_whole(self) -> None:
        """Keep the turn of an answer that reaches its end."""
        self._keep(self.composition.text)
        if self.turn.memory_id is not None:
            self.memories.store(self.turn.memory_id, self.turn.prompt)

    def keep_broken(self) -> None:
        """Keep or drop the turn of one that has not reached its end, and will not."""
        if self.settled:
            return
        frames = self.exchange.record.frames_sent if self.exchange.wants_stream else 0
        if self.sessions.keep_aborted:
            self._keep(self.composition.text_after(frames))
        self.settled = True

    def _keep(self, answer: str) -> None:
        self.sessions.add(self.session, Round(self.turn.prompt, answer))
        self.settled = True
