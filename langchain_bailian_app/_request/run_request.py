"""Requests of background runs, over the Responses route of an application.

The route has fields for the conversation and for `biz_params`. A setting without a field is rejected,
because a run without it could give another answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_bailian_app._request.attachments import check_urls
from langchain_bailian_app._request.fields import CompletionFields
from langchain_bailian_app._request.json_values import check_json, is_unicode
from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._request.transcript import require_text
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.options._session_files import SESSION_FILE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_bailian_app._request.transcript import Turn

_SENT_FIELDS = {"biz_params", "image_list", "file_list"}
# They apply to the received answer, or describe the application.
_CLIENT_FIELDS = {"stop", "citation_markers", "agent_version", "tool_calling"}
# They concern the streams of other calls. A run has no stream.
_STREAM_FIELDS = {"streaming", "accept_missing_stop"}
_SUPPORTED_FIELDS = _SENT_FIELDS | _CLIENT_FIELDS | _STREAM_FIELDS


def build_submit_request(
    app_id: str, turns: Sequence[Turn], options: CompletionFields
) -> ServiceRequest:
    """Return the request that starts a run with the entire conversation.

    Raises:
        ValueError: An option or a part of a message is not supported by this route, or the conversation
            has no question with text.
    """
    check_run_options(options)
    body: dict[str, Any] = {"input": _build_input(turns, options), "background": True}
    if options.biz_params is not None:
        body["biz_params"] = options.biz_params.to_wire()
        check_json("biz_params", body["biz_params"])
    return ServiceRequest(_build_path(app_id), body, api_version="v2")


def build_run_request(
    app_id: str, run_id: str, action: Literal["retrieve", "cancel", "delete"]
) -> ServiceRequest:
    """Return a request for an existing run.

    Raises:
        ValueError: An id is invalid.
    """
    path = f"{_build_path(app_id)}/{check_id(run_id, name='run_id')}"
    if action == "cancel":
        return ServiceRequest(f"{path}/cancel", api_version="v2")
    return ServiceRequest(path, method="GET" if action == "retrieve" else "DELETE", api_version="v2")


def check_run_options(options: CompletionFields) -> None:
    """Reject options, or settings of a model, that this route has no field for.

    Raises:
        ValueError: An option is set that would have no effect.
    """
    for name, field in CompletionFields.model_fields.items():
        value = getattr(options, name)
        if name not in _SUPPORTED_FIELDS and value != field.default:
            reject_setting(name, value)


def reject_setting(name: str, value: Any) -> None:
    """Reject a setting that a background run cannot have, unless it is None.

    Raises:
        ValueError: The setting is not None.
    """
    if value is not None:
        message = (
            f"unsupported `{name}`: the Responses route, which runs applications in the background, "
            f"has no such field; remove `{name}`, or call `invoke`"
        )
        raise ValueError(message)


def _build_path(app_id: str) -> str:
    return f"apps/agent/{check_id(app_id, name='app_id')}/compatible-mode/v1/responses"


def _build_input(turns: Sequence[Turn], options: CompletionFields) -> str | list[dict[str, Any]]:
    """Return the conversation: a text, or one item for each turn, system turns first."""
    questions = [turn for turn in turns if turn.role == "user"]
    if not questions:
        message = "missing human message: an application requires a question; add a human message"
        raise ValueError(message)
    question = questions[-1]
    require_text(question)
    items = []
    for turn in sorted(turns, key=lambda turn: turn.role != "system"):
        images, files = list(turn.images), list(turn.files)
        if turn is question:
            images += options.image_list or ()
            files += options.file_list or ()
        if turn.has_text or images or files:
            items.append({"role": turn.role, "content": _build_content(turn, images, files)})
    if len(items) == 1 and isinstance(text := items[0]["content"], str):
        return text
    return items


def _build_content(turn: Turn, images: list[str], files: list[str]) -> str | list[dict[str, str]]:
    if not is_unicode("".join((turn.text, *images, *files))):
        message = "invalid `messages`: expected Unicode text, got half of a surrogate pair"
        raise ValueError(message)
    check_urls("image_list", images)
    _check_files(files)
    if not images and not files:
        return turn.text
    text = [{"type": "input_text", "text": turn.text}] if turn.has_text else []
    return [
        *text,
        *({"type": "input_image", "image_url": url} for url in images),
        *({"type": "input_file", "file_url": url} for url in files),
    ]


def _check_files(files: list[str]) -> None:
    for file in files:
        problem = None
        if file.startswith(SESSION_FILE_PREFIX):
            problem = "the id of a session file"
        elif file[:5].lower() == "data:":
            problem = "base64 data"
        if problem is not None:
            message = (
                f"unsupported file: a background run accepts files as URLs only, got {problem}; pass a "
                "URL, or call `invoke`"
            )
            raise ValueError(message)
    check_urls("file_list", files)
