"""Preparation of a background run: validates its options and messages before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_bailian_app._request.body import turns_from_messages
from langchain_bailian_app._request.fields import TOOL_KWARGS, wrap_secrets
from langchain_bailian_app._request.run_request import build_submit_request, reject_setting
from langchain_bailian_app.chat_models._agent_messages import render_without_tools
from langchain_bailian_app.runs._settings import RunSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._request.service_request import ServiceRequest
    from langchain_bailian_app.chat_models._runnable import RunnableMethods


def prepare_run(
    model: RunnableMethods, messages: Sequence[BaseMessage], kwargs: dict[str, Any], *, app_id: str
) -> tuple[RunSettings, ServiceRequest]:
    """Combine the fields of a model with the arguments of `submit`, and validate the result.

    Raises:
        ValueError: An option or a part of a message is not supported by background runs, or is invalid.
        TypeError: An argument is not an option of calls.
        NotImplementedError: Tools were passed although `tool_calling` is not set.
    """
    reject_setting("memory_ids", model.memory_ids)
    options = model.with_overrides(wrap_secrets(kwargs))
    for name in sorted(TOOL_KWARGS):
        reject_setting(name, kwargs.get(name))
    turns = turns_from_messages(render_without_tools(messages))
    request = build_submit_request(app_id, turns, options)
    settings = RunSettings.from_model(
        model, citation_markers=options.citation_markers, stop=options.stop
    )
    return settings, request
