"""Live checks of workflows and their nodes."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.live.harness import CheckRegistry, CheckSkipped, LiveHarness, Outcome, RawResponse

CHECKS = CheckRegistry()
_KNOWN_NODE_TYPES = {"Start", "LLM", "Output", "End"}


@CHECKS.register("What type is `node_is_completed`?", assumption="a boolean, or a boolean as a string")
def node_is_completed(harness: LiveHarness) -> Outcome:
    types = {type(message.get("node_is_completed")).__name__ for message in _workflow_messages(harness)}
    return Outcome(" and ".join(sorted(types)), matches_assumption=types <= {"bool", "str"})


@CHECKS.register(
    "Which types and statuses do nodes have?",
    assumption="any; the answer is the text of the End node",
)
def node_types(harness: LiveHarness) -> Outcome:
    node_states = sorted(
        {f"{m.get('node_type')} {m.get('node_status')}" for m in _workflow_messages(harness)}
    )
    unknown_types = {m.get("node_type") for m in _workflow_messages(harness)} - _KNOWN_NODE_TYPES
    observation = ", ".join(node_states) + (
        f"; not seen before: {', '.join(map(str, unknown_types))}" if unknown_types else ""
    )
    return Outcome(observation)


@CHECKS.register(
    "Does the last frame have the complete text, and no `workflow_message`?",
    assumption="yes; text missing from earlier frames is added from it",
)
def last_frame(harness: LiveHarness) -> Outcome:
    output = _call_workflow(harness, "message_format").frames[-1].get("output") or {}
    observation = f"keys {', '.join(sorted(output))}"
    return Outcome(
        observation, matches_assumption=bool(output.get("text")) and not output.get("workflow_message")
    )


@CHECKS.register(
    "Is the final text that of the End node, without the text of output nodes?",
    assumption="yes; otherwise, the answer is the text of the End node, with a warning",
)
def final_text(harness: LiveHarness) -> Outcome:
    response = _call_workflow(harness, "message_format_plus")
    texts = {"Output": "", "End": ""}
    for message in response.output_values("workflow_message"):
        if (node_type := message.get("node_type")) in texts:
            content = (message.get("message") or {}).get("content")
            texts[node_type] += content if isinstance(content, str) else ""
    if not (texts["Output"] and texts["End"]):
        message = "this workflow has no output node before an End node that streams text"
        raise CheckSkipped(message)
    last_text = "".join(response.output_values("text")[-1:])
    if last_text == texts["End"]:
        return Outcome("yes", matches_assumption=True)
    begins_with_output = last_text.startswith(texts["Output"])
    return Outcome(
        f"no; it {'begins' if begins_with_output else 'does not begin'} with the text of output nodes",
        matches_assumption=False,
    )


@CHECKS.register(
    "Does a workflow stream text without `flow_stream_mode`?",
    assumption="no: its nodes are reported in `thoughts`",
)
def no_stream_mode(harness: LiveHarness) -> Outcome:
    texts = _call_workflow(harness, None).output_values("text")
    return Outcome(f"{len(texts)} frame(s) have text", matches_assumption=len(texts) == 1)


def _call_workflow(harness: LiveHarness, mode: str | None) -> RawResponse:
    app_id = harness.require_setting("WORKFLOW_APP_ID", "the id of a workflow")
    input_fields: dict[str, Any] = {"prompt": "你好"}
    if variables := os.environ.get("BAILIAN_LIVE_BIZ_PARAMS"):
        input_fields["biz_params"] = json.loads(variables)
    parameters = {"flow_stream_mode": mode} if mode else {"has_thoughts": True}
    response = harness.post(input_fields, parameters, app_id=app_id)
    if response.error_code:
        message = (
            f"refused: {response.error_code}; set BAILIAN_LIVE_BIZ_PARAMS to the variables, as JSON"
        )
        raise CheckSkipped(message)
    return response


def _workflow_messages(harness: LiveHarness) -> list[dict[str, Any]]:
    messages = _call_workflow(harness, "message_format_plus").output_values("workflow_message")
    if not messages:
        message = "this workflow reports no nodes: turn on 流式输出 (streaming output) for its nodes"
        raise CheckSkipped(message)
    return messages
