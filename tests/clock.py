"""Clock for tests."""


class Clock:
    """A clock whose time, in seconds, changes only when a test sets `now`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
