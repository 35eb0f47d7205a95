"""Random faults in the steps of an exchange."""

import pytest

from langchain_bailian_app.emulator import RunFaults


def test_each_fault_occurs_in_its_step_with_its_share() -> None:
    faults = RunFaults({"retrieve_error": 0.2, "retrieve_cut": 0.3, "run_failed": 1.0}, seed=1)
    drawn = [faults.draw("retrieve") for _ in range(1000)]

    assert 150 < drawn.count("retrieve_error") < 250
    assert 250 < drawn.count("retrieve_cut") < 350
    assert faults.draw("run") == "run_failed"
    assert faults.draw("create") is None


def test_the_number_of_faults_can_be_limited() -> None:
    faults = RunFaults.always("create_error", times=2)

    assert [faults.draw("create") for _ in range(3)] == ["create_error", "create_error", None]


def test_invalid_shares_are_rejected() -> None:
    with pytest.raises(ValueError, match="unknown fault 'x': expected one of"):
        RunFaults({"x": 1.0})
    with pytest.raises(ValueError, match="the shares of step 'retrieve' sum to more than 1"):
        RunFaults({"retrieve_error": 0.6, "retrieve_cut": 0.6})
