"""Runner of simulations: `make soak`, or `python -m tests.simulation`.

With `--seed`, it repeats one simulation. Otherwise, it runs short simulations with new seeds, one per
core at a time, until the service has received all requests. It stops at the first fault.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TYPE_CHECKING

from tests.simulation.environment import WORLDS
from tests.simulation.redis_process import find_redis_server
from tests.simulation.simulation import run_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.environment import World

SLICE = 2000  # requests of one simulation
PROGRESS = 10_000  # requests


def iter_slices(worlds: list[World], requests: int) -> Iterator[tuple[World, int, int]]:
    """Yield simulations without end; new seeds make every run different."""
    seed = random.SystemRandom().randrange(10**9)
    for number, world in enumerate(itertools.cycle(worlds)):
        yield world, seed + number, min(SLICE, requests)


def soak(worlds: list[World], requests: int) -> None:
    """Run simulations until the service has received `requests` requests, and print the progress."""
    started = time.monotonic()
    count = planned = 0
    next_progress = min(PROGRESS, requests)
    slices = iter_slices(worlds, requests)
    running: set[Future[int]] = set()
    # A fresh process for each simulation: what one leaves behind cannot disturb the next.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, max_tasks_per_child=1) as pool:
        while planned < requests or running:
            while planned < requests and len(running) < (os.cpu_count() or 1):
                world, seed, share = next(slices)
                running.add(pool.submit(run_one, world, seed, share))
                planned += share
            done, running = wait(running, return_when=FIRST_COMPLETED)
            try:
                count += sum(future.result() for future in done)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            if count >= next_progress:
                rate = count / (time.monotonic() - started)
                sys.stdout.write(f"{count:,} of {requests:,} requests, {rate:.0f} per second\n")
                sys.stdout.flush()
                next_progress = count - count % PROGRESS + PROGRESS
    sys.stdout.write(f"no fault in {count:,} requests\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--world", choices=WORLDS, help="default: all worlds, in turn")
    parser.add_argument("--seed", type=int, help="seed of one simulation to repeat")
    parser.add_argument("--requests", type=int, default=1_000_000)
    arguments = parser.parse_args()
    worlds: list[World] = [arguments.world] if arguments.world else list(WORLDS)
    if find_redis_server() is None:
        sys.stdout.write("redis-server is not installed: only stores in memory are simulated\n")
        worlds = ["memory"]
    if arguments.seed is None:
        soak(worlds, arguments.requests)
        return
    for world in worlds:
        count = run_one(world, arguments.seed, arguments.requests)
        sys.stdout.write(f"{world}, seed {arguments.seed}: {count} requests, no fault\n")


if __name__ == "__main__":
    main()
