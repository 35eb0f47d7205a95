"""Redis server that the simulation kills, freezes and restarts."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Self

import redis

if TYPE_CHECKING:
    from types import TracebackType

STARTUP_TIMEOUT = 15.0  # seconds


def find_redis_server() -> str | None:
    """Return the path of `redis-server`, or None if it is not installed."""
    return shutil.which("redis-server")


class RedisProcess:
    """Server on loopback and without persistence; after a restart, it is empty and on the same port."""

    def __init__(self, program: str) -> None:
        self._program = program
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port: int = listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        self.admin = redis.Redis.from_url(self.url, decode_responses=True)
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self.admin.close()
        self._directory.cleanup()

    def start(self) -> None:
        arguments = f"--bind 127.0.0.1 --port {self._port} --appendonly no".split()
        self._process = subprocess.Popen(
            [self._program, *arguments, "--save", ""],
            cwd=self._directory.name,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + STARTUP_TIMEOUT
        while True:
            try:
                self.admin.ping()
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self.admin.ping()
