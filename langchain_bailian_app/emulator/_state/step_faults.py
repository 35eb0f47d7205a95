"""Random faults in the steps of an exchange that takes several requests."""

import random
from collections.abc import Mapping
from typing import ClassVar, Self


class StepFaults:
    """Random faults; the same shares and seed always yield the same faults.

    Args:
        shares: Name of a fault → share of its step's requests that fail in this way, from 0 to 1.
        seed: Seed of the random numbers. Default: 0.

    Raises:
        ValueError: A name is unknown, or the shares for a step sum to more than 1.
    """

    known: ClassVar[Mapping[str, tuple[str, str]]]
    """Name of a fault → the step in which it occurs, and a description."""

    def __init__(self, shares: Mapping[str, float], *, seed: int = 0) -> None:
        unknown = sorted(set(shares) - set(self.known))
        if unknown:
            message = f"unknown fault {unknown[0]!r}: expected one of {sorted(self.known)}"
            raise ValueError(message)
        for step in dict.fromkeys(step for step, _ in self.known.values()):
            if sum(share for name, share in shares.items() if self.known[name][0] == step) > 1:
                message = f"invalid `shares`: the shares of step {step!r} sum to more than 1"
                raise ValueError(message)
        self._shares = dict(shares)
        self._remaining: dict[str, int] = {}
        self._rng = random.Random(seed)  # noqa: S311 - not for cryptography

    @classmethod
    def always(cls, name: str, *, times: int | None = None) -> Self:
        """Build faults that inject one fault into every request of its step.

        Args:
            name: Name of the fault.
            times: Number of requests with the fault; later requests succeed. None (default): all of
                them.

        Raises:
            ValueError: The name is unknown.
        """
        faults = cls({name: 1.0})
        if times is not None:
            faults._remaining[name] = times
        return faults

    def draw(self, step: str) -> str | None:
        """Draw the fault for the next request of a step; None if the request succeeds."""
        roll = self._rng.random()
        for name, share in self._shares.items():
            if self.known[name][0] != step:
                continue
            if roll < share:
                if self._remaining.get(name) == 0:
                    return None
                if name in self._remaining:
                    self._remaining[name] -= 1
                return name
            roll -= share
        return None
