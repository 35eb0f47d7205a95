"""Redis server for tests, on loopback and without persistence."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTUP_TIMEOUT = 15.0  # seconds; a cluster needs about two
_SLOTS = range(16384)


@contextmanager
def redis_server(*, cluster: bool = False) -> Iterator[str]:
    """Run a server or a cluster of one node, and yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    port = _free_port()
    url = f"redis://127.0.0.1:{port}"
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "save": "",
        "appendonly": "no",
        # By default a cluster also uses the port 10000 above, which may not exist.
        **({"cluster-enabled": "yes", "cluster-port": _free_port()} if cluster else {}),
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen([program, *arguments], cwd=directory, stdout=subprocess.DEVNULL)
        try:
            with redis.Redis.from_url(url) as client:
                _wait_until_ready(client, cluster=cluster)
            yield url
        finally:
            server.kill()
            server.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(client: redis.Redis, *, cluster: bool) -> None:
    deadline = time.monotonic() + STARTUP_TIMEOUT
    slots_assigned = not cluster
    while True:
        try:
            client.ping()
            if not slots_assigned:
                client.execute_command("CLUSTER ADDSLOTS", *_SLOTS)
                slots_assigned = True
            client.get("ready?")  # a cluster rejects it until it is ready
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
