"""Requests to knowledge services and to the index route, with the validation of their fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._request.attachments import check_urls
from langchain_bailian_app._request.body import turns_from_messages
from langchain_bailian_app._request.json_values import check_json, is_unicode
from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._request.transcript import require_text
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.options._session_files import SESSION_FILE_PREFIX, check_session_file_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app._request.knowledge_fields import KnowledgeChatFields
    from langchain_bailian_app._request.transcript import Turn

_MAX_FILTER_BYTES = 80_000
_CONFIG_FIELDS = {"id", "search_filters"}


def build_search_request(
    agent_id: str,
    query: str,
    *,
    agent_version: int | str | None,
    images: list[str] | None,
    kb_search_configs: list[dict[str, Any]] | None,
    extra: dict[str, Any] | None,
) -> ServiceRequest:
    """Return the request to a search service."""
    values = {
        "query": query,
        "images": images,
        # The sources show a text for the draft; whether a number may be one too is unverified.
        "agent_version": None if agent_version is None else str(agent_version),
        "kb_search_configs": kb_search_configs,
    }
    body = {"agent_id": check_id(agent_id, name="agent_id")}
    body |= {name: value for name, value in values.items() if value is not None} | (extra or {})
    return ServiceRequest("indices/knowledge/search", body)


def build_index_request(
    pipeline_id: str, query: str, fields: dict[str, Any], extra: dict[str, Any] | None
) -> ServiceRequest:
    """Return the request that searches one knowledge base on the index route.

    Args:
        pipeline_id: Id of the knowledge base.
        query: The query.
        fields: Fields of the body, under their wire names; None values are omitted.
        extra: Fields that are merged in last.
    """
    body = {"index_id": check_id(pipeline_id, name="pipeline_id"), "query": query}
    body |= {name: value for name, value in fields.items() if value is not None} | (extra or {})
    return ServiceRequest("indices/rag/index/retrieve", body)


def build_chat_request(
    agent_id: str, messages: Sequence[BaseMessage], options: KnowledgeChatFields
) -> ServiceRequest:
    """Return the request to a chat service, which contains the entire conversation.

    Raises:
        ValueError: The messages or an option cannot be sent.
    """
    turns = turns_from_messages(messages)
    questions = [turn for turn in turns if turn.role == "user"]
    if not questions:
        message = "missing human message: a chat service requires a question; add a human message"
        raise ValueError(message)
    require_text(questions[-1])
    agent_options: dict[str, Any] = {"agent_id": check_id(agent_id, name="agent_id")}
    if options.agent_version is not None:
        agent_options["agent_version"] = str(options.agent_version)
    if session_files := _collect_session_files(turns, options):
        agent_options["session_files"] = session_files
    if options.enable_cache_control is not None:
        agent_options["enable_cache_control"] = options.enable_cache_control
    for name, values in (
        ("extra_agent_options", options.extra_agent_options),
        ("extra_input", options.extra_input),
    ):
        check_json(name, values)
    body = {
        "input": {"messages": _build_messages(turns)} | (options.extra_input or {}),
        "parameters": {"agent_options": agent_options | (options.extra_agent_options or {})},
        "stream": True,  # the service rejects any other value
    }
    return ServiceRequest("apps/knowledge/chat", body, stream=True, api_version="v2")


def _build_messages(turns: list[Turn]) -> list[dict[str, Any]]:
    """Return the messages with the roles that the service documents: user and assistant.

    The prompt of a service is set in the console. Texts of system messages precede the last question.
    """
    system_text = "\n\n".join(turn.text for turn in turns if turn.role == "system" and turn.has_text)
    sent_turns = [turn for turn in turns if turn.role != "system" and (turn.has_text or turn.images)]
    last_question = max(n for n, turn in enumerate(sent_turns) if turn.role == "user")
    messages: list[dict[str, Any]] = []
    for number, turn in enumerate(sent_turns):
        text = turn.text
        if number == last_question and system_text:
            text = f"{system_text}\n\n{text}"
        if not is_unicode(text):
            message = "invalid `messages`: expected Unicode text, got half of a surrogate pair"
            raise ValueError(message)
        content: Any = text
        if turn.images:
            check_urls("image_url", turn.images)
            parts = [{"type": "text", "text": text}] if text.strip() else []
            content = [
                *parts,
                *({"type": "image_url", "image_url": {"url": url}} for url in turn.images),
            ]
        messages.append({"role": turn.role, "content": content})
    return messages


def _collect_session_files(turns: list[Turn], options: KnowledgeChatFields) -> list[str]:
    """Return the ids of the session files in the messages and in the options.

    Raises:
        ValueError: A message has a file that was not uploaded, or there are more than ten.
    """
    files = [url for turn in turns for url in turn.files]
    if any(not url.startswith(SESSION_FILE_PREFIX) for url in files):
        message = (
            "cannot send a file to a chat service: upload it with `BailianFiles`, and pass its id in "
            "`session_files`"
        )
        raise ValueError(message)
    ids = list(dict.fromkeys([*files, *(options.session_files or ())]))
    check_session_file_ids(ids)
    return ids


def check_search_configs(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `kb_search_configs` with each `search_filters` as a list.

    Raises:
        ValueError: An entry has no id or an unknown field, an id occurs twice, or the filters have more
            than 80,000 bytes as JSON.
    """
    checked: list[dict[str, Any]] = []
    for config in configs:
        if unknown := sorted(config.keys() - _CONFIG_FIELDS):
            message = (
                f"invalid `kb_search_configs`: expected the fields `id` and `search_filters`, got "
                f"{unknown[0]!r}"
            )
            raise ValueError(message)
        knowledge_base_id = check_id(config.get("id", ""), name="kb_search_configs[].id")
        if any(knowledge_base_id == other["id"] for other in checked):
            message = (
                f"invalid `kb_search_configs`: expected each knowledge base once, got "
                f"{knowledge_base_id!r} twice; combine its `search_filters`"
            )
            raise ValueError(message)
        entry: dict[str, Any] = {"id": knowledge_base_id}
        if (filters := config.get("search_filters")) is not None:
            entry["search_filters"] = _check_filters(filters)
        checked.append(entry)
    size = sum(_count_bytes(entry.get("search_filters", [])) for entry in checked)
    if size > _MAX_FILTER_BYTES:
        message = (
            f"invalid `kb_search_configs`: expected filters of at most {_MAX_FILTER_BYTES:,} bytes, "
            f"got {size:,}; use fewer values"
        )
        raise ValueError(message)
    return checked


def _check_filters(filters: Any) -> list[dict[str, Any]]:
    groups = [filters] if isinstance(filters, dict) else filters
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        message = (
            "invalid `kb_search_configs`: expected `search_filters` as a list of dicts, got "
            f"{type(filters).__name__}"
        )
        raise ValueError(message)
    check_json("kb_search_configs", groups)
    return groups


def _count_bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode()) if value else 0
