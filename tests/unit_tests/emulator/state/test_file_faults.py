"""Faults of the emulator's session files."""

from __future__ import annotations

import pytest

from langchain_bailian_app.emulator import FILE_FAULTS, FileFaults


def test_faults_are_validated_and_drawn_by_step() -> None:
    with pytest.raises(ValueError, match="unknown fault 'fire'"):
        FileFaults({"fire": 1.0})
    with pytest.raises(ValueError, match="more than 1"):
        FileFaults({"lease_error": 0.6, "lease_expired": 0.6})
    faults = FileFaults(dict.fromkeys(FILE_FAULTS, 0.1))
    drawn = {faults.draw("lease") for _ in range(200)}

    assert drawn == {None, "lease_throttled", "lease_error", "lease_expired"}
    one_time = FileFaults.always("lease_error", times=1)
    assert [one_time.draw("lease"), one_time.draw("lease"), one_time.draw("add")] == [
        "lease_error",
        None,
        None,
    ]
