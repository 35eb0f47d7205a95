"""Switches for what no source settles about background runs."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class RunSwitches:
    """Behavior of the Responses route, which any thread can change."""

    running_word: Literal["running", "in_progress"] = "running"
    """Status of a run that runs: as on the page of background runs (default), or as in streams of this
    route and in OpenAI's protocol."""

    failed_shape: Literal["output", "items", "text", "error", "flat", "none"] = "output"
    """Place of a failure's code and message: an object in `output` (default), an item of type `error`
    in it, a text, OpenAI's `error`, the reply itself, or none. The page mentions `output`, without an
    example."""

    cancel_ended: Literal["failed", "error"] = "failed"
    """Reply to the cancellation of a run that has ended: HTTP 200 with the status `failed` (default),
    or HTTP 400. The page mentions `failed`, but no HTTP status."""

    retention: float | None = None
    """Seconds for which a finished run is kept. None (default): without limit; none is documented."""

    queries_per_second: int | None = None
    """Queries that are accepted in each second; more are throttled. None (default): without limit; none
    is documented."""

    unknown_id: Literal["NotFound", "InvalidParameter"] = "NotFound"
    """Code of the error for an unknown id, or the id of a run of another application."""

    reasoning: Literal["content", "summary"] = "content"
    """Form of the item with the reasoning: parts in `content` (default, as the names of the stream's
    events suggest), or a `summary`, as on the route of models."""

    workspace_host: bool = True
    """Whether the host of a workspace (`*.maas.aliyuncs.com`) has this route. Default: True."""
