"""Public import path of `SqliteSessionStore`."""

from langchain_bailian_app.sessions._sqlite_store import SqliteSessionStore

__all__ = ["SqliteSessionStore"]

SqliteSessionStore.__module__ = __name__
