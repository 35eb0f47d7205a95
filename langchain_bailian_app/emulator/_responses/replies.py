"""Replies of the Responses route: a run as a `response` object."""

from typing import Any

from langchain_bailian_app.emulator._http.errors import ErrorReply
from langchain_bailian_app.emulator._state.run_switches import RunSwitches
from langchain_bailian_app.emulator._state.runs import StoredRun


def build_response(run: StoredRun, switches: RunSwitches) -> dict[str, Any]:
    """Build the `response` object of a run."""
    status = switches.running_word if run.status == "running" else run.status
    response = {
        "id": run.run_id,
        "object": "response",
        "created_at": run.created_at,
        "status": status,
        "model": "",
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "output": _build_output(run, switches) if run.status == "completed" else [],
    }
    if run.error is not None:
        response |= _build_failure(run.error, switches)
    return response


def _build_output(run: StoredRun, switches: RunSwitches) -> list[dict[str, Any]]:
    items = []
    if run.reasoning:
        item: dict[str, Any] = {"id": f"rs_{run.run_id}", "type": "reasoning", "summary": []}
        if switches.reasoning == "summary":
            item["summary"] = [{"type": "summary_text", "text": run.reasoning}]
        else:
            item["content"] = [{"type": "reasoning_text", "text": run.reasoning}]
        items.append(item)
    text = {"type": "output_text", "text": run.text, "annotations": []}
    message = {"id": f"msg_{run.run_id}", "type": "message", "role": "assistant"}
    items.append(message | {"status": "completed", "content": [text]})
    return items


def _build_failure(error: ErrorReply, switches: RunSwitches) -> dict[str, Any]:
    details = {"code": error.code, "message": error.message}
    match switches.failed_shape:
        case "output":
            return {"output": details}
        case "items":
            return {"output": [{"type": "error"} | details]}
        case "text":
            return {"output": f"{error.code}: {error.message}"}
        case "error":
            return {"error": details}
        case "flat":
            return details
        case "none":
            return {}
