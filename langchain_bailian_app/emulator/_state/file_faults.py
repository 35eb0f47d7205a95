"""Faults in uploads of session files; see `FileStore.faults`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from langchain_bailian_app.emulator._state.step_faults import StepFaults

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


class FileFaults(StepFaults):
    """Random faults in uploads: shares by the names in `FILE_FAULTS`; see `StepFaults`."""

    known = FILE_FAULTS
