"""Faults in background runs; see `RunStore.faults`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from langchain_bailian_app.emulator._state.step_faults import StepFaults

RunStep: TypeAlias = Literal["create", "run", "retrieve", "cancel", "delete"]
"""Steps of a run: start it, run the application, query the state, cancel the run, delete it."""

RUN_FAULTS: Mapping[str, tuple[RunStep, str]] = MappingProxyType(
    {
        "create_throttled": ("create", "the request is throttled; no run starts"),
        "create_error": ("create", "the request fails with an internal error; no run starts"),
        "create_reply_lost": ("create", "the run starts, but the response is lost"),
        "run_failed": ("run", "the application fails"),
        "retrieve_throttled": ("retrieve", "the query is throttled"),
        "retrieve_error": ("retrieve", "the query fails with an internal error"),
        "retrieve_cut": ("retrieve", "the service drops the connection of the query"),
        "cancel_reply_lost": ("cancel", "the run is cancelled, but the response is lost"),
        "delete_reply_lost": ("delete", "the run is deleted, but the response is lost"),
    }
)
"""Name of a fault → the step in which it occurs, and a description."""


class RunFaults(StepFaults):
    """Random faults in background runs: shares by the names in `RUN_FAULTS`; see `StepFaults`."""

    known = RUN_FAULTS
