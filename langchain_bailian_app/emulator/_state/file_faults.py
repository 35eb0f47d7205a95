"""Ways in which the upload of a session file goes wrong; `bailian.files.faults` names them."""

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Self, TypeAlias, get_args

FileStep: TypeAlias = Literal["lease", "upload", "add", "parse", "describe"]
"""A step of an upload: the lease, the bytes, handing them over, parsing them, a look at the status."""

FILE_FAULTS: Mapping[str, tuple[FileStep, str]] = MappingProxyType(
    {
        "lease_throttled": ("lease", "the lease is refused for coming too often"),
        "lease_error": ("lease", "no lease, for an internal error"),
        "lease_expired": ("lease", "the URL of the lease has expired at once"),
        "upload_error": ("upload", "the storage is not available"),
        "upload_cut": ("upload", "the storage hangs up in the middle"),
        "add_error": ("add", "nothing is added, for an internal error"),
        "add_reply_lost": ("add", "the file is added, and the reply is lost"),
        "add_lease_expired": ("add", "the lease has expired before the file is added"),
        "parse_failed": ("parse", "the file cannot be parsed"),
        "safe_check_failed": ("parse", "the file is refused by the security check"),
        "index_failed": ("parse", "no index can be built"),
        "describe_error": ("describe", "no status, for an internal error"),
        "describe_cut": ("describe", "the service hangs up"),
    }
)
"""Name of a fault → the step where it strikes, and what happens."""


class FileFaults:
    """How often each fault strikes.

    Args:
        shares: Name of a fault of `FILE_FAULTS` → its share of the requests of its step.
        seed: Begins the dice.
    """

    def __init__(self, shares: Mapping[str, float], *, seed: int = 0) -> None:
        unknown = sorted(set(shares) - set(FILE_FAULTS))
        if unknown:
            message = f"there is no fault {unknown[0]!r}; there are {sorted(FILE_FAULTS)}"
            raise ValueError(message)
        for step in get_args(FileStep):
            if sum(share for name, share in shares.items() if FILE_FAULTS[name][0] == step) > 1:
                message = f"the shares of the step {step!r} add up to more than 1"
                raise ValueError(message)
        self._shares = dict(shares)
        self._remaining: dict[str, int] = {}
        self._rng = random.Random(seed)  # noqa: S311 - dice of a test need no secrecy

    @classmethod
    def always(cls, name: str, *, times: int | None = None) -> Self:
        """Let one fault strike each time, or the first few times."""
        faults = cls({name: 1.0})
        if times is not None:
            faults._remaining[name] = times
        return faults

    def draw(self, step: FileStep) -> str | None:
        """The fault that strikes a request of this step, if one does."""
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
