"""How workflows tell of their nodes."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.live.harness import CannotAsk, Lab, Outcome, Questions, Reply

QUESTIONS = Questions()
_KNOWN = {"Start", "LLM", "End"}


@QUESTIONS.about("Of which type is `node_is_completed`?", assumed="a boolean, or its name as text")
def node_is_completed(lab: Lab) -> Outcome:
    types = {type(message.get("node_is_completed")).__name__ for message in _messages(lab)}
    return Outcome(" and ".join(sorted(types)), as_assumed=types <= {"bool", "str"})


@QUESTIONS.about(
    "Which types and statuses do nodes have?", assumed="any; End and output nodes speak the answer"
)
def node_types(lab: Lab) -> Outcome:
    seen = sorted({f"{m.get('node_type')} {m.get('node_status')}" for m in _messages(lab)})
    unknown = {m.get("node_type") for m in _messages(lab)} - _KNOWN
    told = ", ".join(seen) + (f"; not seen before: {', '.join(map(str, unknown))}" if unknown else "")
    return Outcome(told)


@QUESTIONS.about(
    "Does the last frame have the whole text, and no `workflow_message`?",
    assumed="the text decides: what is missing of it is added",
)
def last_frame(lab: Lab) -> Outcome:
    output = _asked(lab, "message_format").frames[-1].get("output") or {}
    told = f"keys {', '.join(sorted(output))}"
    return Outcome(told, as_assumed=bool(output.get("text")) and not output.get("workflow_message"))


@QUESTIONS.about(
    "Does a workflow stream text without any mode?", assumed="no: it tells its nodes in `thoughts`"
)
def without_a_mode(lab: Lab) -> Outcome:
    texts = _asked(lab, None).outputs("text")
    return Outcome(f"{len(texts)} frame(s) have text", as_assumed=len(texts) == 1)


def _asked(lab: Lab, mode: str | None) -> Reply:
    app_id = lab.setting("WORKFLOW_APP_ID", "id of a workflow")
    given: dict[str, Any] = {"prompt": "你好"}
    if variables := os.environ.get("BAILIAN_LIVE_BIZ_PARAMS"):
        given["biz_params"] = json.loads(variables)
    parameters = {"flow_stream_mode": mode} if mode else {"has_thoughts": True}
    reply = lab.post(given, parameters, app_id=app_id)
    if reply.code:
        message = f"refused: {reply.code}; its variables go into BAILIAN_LIVE_BIZ_PARAMS, as JSON"
        raise CannotAsk(message)
    return reply


def _messages(lab: Lab) -> list[dict[str, Any]]:
    messages = _asked(lab, "message_format_plus").outputs("workflow_message")
    if not messages:
        message = "this workflow tells no nodes: its nodes need the switch 流式输出"
        raise CannotAsk(message)
    return messages
