"""Public import path of `RedisSessionStore`; requires the `redis` extra."""

from langchain_bailian_app.sessions._redis_store import RedisSessionStore

__all__ = ["RedisSessionStore"]

RedisSessionStore.__module__ = __name__
