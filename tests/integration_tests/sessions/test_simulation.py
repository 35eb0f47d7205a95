"""Simulations of many users, and proof that they detect stores with a fault.

`tests.simulation` describes the simulation. A failure shows the command that repeats it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.sqlite_sessions import SqliteSessionStore
from tests.simulation.redis_process import find_redis_server
from tests.simulation.simulation import Simulation, SimulationFailure
from tests.simulation.stores import BROKEN_STORES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.environment import World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.no_cover,  # thousands of calls; other tests cover these lines
]
needs_redis = pytest.mark.skipif(
    find_redis_server() is None,
    reason="redis-server is not installed (Debian: apt-get install redis-server)",
)
# 10,000 requests in all, in parts that run in parallel.
SIMULATIONS = [
    *(pytest.param("processes", seed, 500, marks=needs_redis) for seed in range(2)),
    *(pytest.param("redis", seed, 750, marks=needs_redis) for seed in range(2)),
    *(pytest.param("memory", seed, 1250) for seed in range(6)),
]


@pytest.mark.parametrize(("world", "seed", "requests"), SIMULATIONS)
def test_every_answer_is_given_from_its_own_conversation(
    world: World, seed: int, requests: int
) -> None:
    with Simulation(world, seed) as simulation:
        simulation.run(requests)

        assert simulation.request_count >= requests


@pytest.mark.parametrize("seed", range(2))
def test_every_answer_is_given_from_its_own_conversation_with_sqlite(tmp_path: Path, seed: int) -> None:
    create_store = partial(SqliteSessionStore, tmp_path / "sessions.db")
    with Simulation("memory", seed, create_store=create_store) as simulation:
        simulation.run(500)

        assert simulation.request_count >= 500


@pytest.mark.parametrize("fault", BROKEN_STORES)
def test_a_store_with_a_fault_is_detected(fault: str) -> None:
    create_store: Any = BROKEN_STORES[fault]
    with (
        Simulation("memory", 1, create_store=create_store, store_failure_share=0.0) as simulation,
        pytest.raises(SimulationFailure, match="To repeat"),
    ):
        simulation.run(1000)
