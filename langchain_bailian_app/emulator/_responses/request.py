"""Parser of requests that start a background run.

The conversation and `biz_params` are converted to a request for completion, which the application then
answers. The route has no other field of completion.
"""

from collections.abc import Mapping
from typing import Any

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._completion.request import (
    NO_USER_MESSAGE,
    CompletionRequest,
    completion_request_from_body,
)
from langchain_bailian_app.emulator._completion.workflow_variables import check_variables
from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import get_object, get_typed, refuse_value

_ROLES = ("system", "user", "assistant")


def parse_run_request(app: App, body: Mapping[str, Any]) -> CompletionRequest:
    """Parse the body of a request that starts a run.

    Raises:
        RequestRefused: The service would reject the request.
    """
    if not get_typed(body, "background", bool):
        refuse("InvalidParameter", "The emulator has this route for background runs only.")
    if get_typed(body, "stream", bool):
        refuse("InvalidParameter", "background and stream cannot be used together.")
    biz_params = get_object(body, "biz_params")
    if app.kind == "workflow" and "user_prompt_params" in biz_params:
        refuse("InvalidParameter", NO_USER_MESSAGE)
    messages, images, files = _parse_input(body.get("input"))
    if files and app.kind == "workflow":
        refuse("InvalidParameter", "input_file is only supported by agents.")
    request = completion_request_from_body(
        {
            "input": {
                "messages": messages,
                "image_list": images,
                "file_list": files,
                "biz_params": biz_params,
            }
        },
        stream=False,
    )
    check_variables(app.variables, request.biz_params)
    return request


def _parse_input(value: Any) -> tuple[list[dict[str, str]], list[str], list[str]]:
    """Return the messages with text, the URLs of images and those of files."""
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        refuse_value("input", "a string or a list of items")
    messages: list[dict[str, str]] = []
    urls: dict[str, list[str]] = {"input_image": [], "input_file": []}
    for item in value:
        if not isinstance(item, dict) or item.get("role") not in _ROLES:
            refuse_value("input", f"a list of items with a role among {', '.join(_ROLES)}")
        text = _read_content(item.get("content"), urls)
        if text:
            messages.append({"role": item["role"], "content": text})
    return messages, urls["input_image"], urls["input_file"]


def _read_content(content: Any, urls: dict[str, list[str]]) -> str:
    """Return the text in the content of an item, and add the URLs of images and files to `urls`."""
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        refuse_value("content", "a string or a list of parts")
    text = ""
    for part in parts:
        match part:
            case {"type": "input_text", "text": str(piece)}:
                text += piece
            case {"type": "input_image" as kind, "image_url": str(url)} | {
                "type": "input_file" as kind,
                "file_url": str(url),
            }:
                urls[kind].append(url)
            case _:
                refuse_value("content", "a list of parts with text, an image or a file")
    return text
