"""Switches for what no source settles about session files that are uploaded with an API key."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class ConnectorSettings:
    """Behavior of the routes under `/connector/dash`, which any thread can change.

    How long files last is the setting `lifetime` of `FileStore`.
    """

    states: Literal["short", "long"] = "short"
    """Statuses of a file: INIT, PARSING, then PARSE_SUCCESS or FAIL, as on the page of `describeFile`
    (default), or those of the OpenAPI, which end with FILE_IS_READY."""

    md5: Literal["base64", "hex"] = "base64"
    """Form of `contentMd5` that is accepted: as in the table of the page (default), or as in its
    example."""

    id_prefix: str = "file_session_"
    """Beginning of the ids of files. Default: `file_session_`, as over the OpenAPI. The pages of these
    routes show `file_`."""

    usable_in_applications: bool = True
    """Whether applications accept the ids of these files in `session_file_ids`. Default: True."""

    status_key: Literal["examples", "status", "status_code"] = "examples"
    """Name of the status in the body: that of each page's example (default), where only `addFile` has
    `status_code`, or one name in all replies."""
