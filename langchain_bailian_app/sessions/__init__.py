"""Session stores, which decide whether a call may continue a session."""

from langchain_bailian_app.sessions._store import (
    BailianSessionWarning,
    InMemorySessionStore,
    SessionStore,
)

__all__ = ["BailianSessionWarning", "InMemorySessionStore", "SessionStore"]

for _public in (BailianSessionWarning, InMemorySessionStore, SessionStore):
    _public.__module__ = __name__
