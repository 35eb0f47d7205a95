"""Faults in uploads of session files; see `FileStore.faults`."""

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Self, TypeAlias, get_args

FileStep: TypeAlias = Literal["lease", "upload", "add", "parse", "describe"]
"""Steps of an upload: get a lease, upload the bytes, add the file, parse it, query its status."""

FILE_FAULTS: Mapping[str, tuple[FileStep, str]] = MappingProxyType(
    {
        "lease_throttled": ("lease", "the request for a lease is throttled"),
        "lease_error": ("lease", "the request for a lease fails with an internal error"),
        "lease_expired": ("lease", "the URL of the lease expires immediately"),
        "upload_error": ("upload", "the storage is unavailable"),
        "upload_cut": ("upload", "the storage drops the connection during the upload"),
        "add_error": ("add", "adding the file fails with an internal error"),
        "add_reply_lost": ("add", "the file is added, but the response is lost"),
        "add_lease_expired": ("add", "the lease expires before the file is added"),
        "parse_failed": ("parse", "the file cannot be parsed"),
        "safe_check_failed": ("parse", "the security check rejects the file"),
        "index_failed": ("parse", "the index cannot be built"),
        "describe_error": ("describe", "the status request fails with an internal error"),
        "describe_cut": ("describe", "the service drops the connection of the status request"),
    }
)
"""Name of a fault → the step in which it occurs, and a description."""


class FileFaults:
    """Random faults in uploads; the same shares and seed always yield the same faults.

    Args:
        shares: Name in `FILE_FAULTS` → share of its step's requests that fail in this way, from 0 to 1.
        seed: Seed of the random numbers. Default: 0.

    Raises:
        ValueError: A name is not in `FILE_FAULTS`, or the shares for a step sum to more than 1.
    """

    def __init__(self, shares: Mapping[str, float], *, seed: int = 0) -> None:
        unknown = sorted(set(shares) - set(FILE_FAULTS))
        if unknown:
            message = f"unknown fault {unknown[0]!r}: expected one of {sorted(FILE_FAULTS)}"
            raise ValueError(message)
        for step in get_args(FileStep):
            if sum(share for name, share in shares.items() if FILE_FAULTS[name][0] == step) > 1:
                message = f"invalid `shares`: the shares of step {step!r} sum to more than 1"
                raise ValueError(message)
        self._shares = dict(shares)
        self._remaining: dict[str, int] = {}
        self._rng = random.Random(seed)  # noqa: S311 - not for cryptography

    @classmethod
    def always(cls, name: str, *, times: int | None = None) -> Self:
        """Build faults that inject one fault into every request of its step.

        Args:
            name: Name in `FILE_FAULTS`.
            times: Number of requests with the fault; later requests succeed. None (default): all of
                them.

        Raises:
            ValueError: The name is not in `FILE_FAULTS`.
        """
        faults = cls({name: 1.0})
        if times is not None:
            faults._remaining[name] = times
        return faults

    def draw(self, step: FileStep) -> str | None:
        """Draw the fault for the next request of a step; None if the request succeeds."""
        roll = self._rng.random()
        for name, share in self._shares.items():
            if FILE_FAULTS[name][0] != step:
                continue
            if roll < share:
                if self._remaining.get(name) == 0:
                    return None
                if name in self._remaining:
                    self._remaining[name] -= 1
                return name
            roll -= share
        return None
