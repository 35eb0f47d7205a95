"""Requests of `BailianMemoryLibrary` for nodes and events, with the documented limits of their fields.

Unless stated otherwise, the limits are those of the reference pages of 2026-11.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict
from urllib.parse import quote

from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.memory._messages import Messages, to_wire_messages
from langchain_bailian_app.memory._records import PlanVersion

_ROOT = "apps/memory"
_MAX_USER_ID_CHARS = 64
_MAX_LIBRARY_ID_CHARS = 32
_MAX_MESSAGES = 50
_MAX_PROJECTS = 5
_MAX_CONTENT_CHARS = 512
_MAX_TOP_K = 100
_MEMORY_TYPES = ("observation", "skill")
_PLAN_VERSIONS = ("pro", "lite")


class AddOptions(TypedDict, total=False):
    """Options of `add` and `submit`."""

    custom_content: str
    """Text to store as it is, 1 to 512 characters, instead of `messages`."""

    project_id: str
    """Id of one rule (记忆规则) that extracts nodes. Default: the default rule of the library."""

    project_ids: Sequence[str]
    """Ids of 1 to 5 rules; not together with `project_id` or `custom_content`. Sources disagree about
    whether `add` accepts it; `submit` does."""

    profile_schema: str
    """Id of a profile schema: the user's profile is extracted too."""

    extract_mode: Literal["profile_only"]
    """Extract only the profile; requires `messages` and `profile_schema`."""

    meta_data: Mapping[str, Any]
    """Your own data, stored with the nodes."""

    timestamp: int
    """Time of the conversation in seconds since 1970. Default: now. Not in the reference pages, but in
    a recorded exchange."""

    skill_name: str
    """Name of a skill: required with `skill_description` and `skill_tags` if the rule is one for skills
    and `custom_content` is the skill."""

    skill_description: str
    skill_tags: Sequence[str]

    extra_parameters: Mapping[str, Any]
    """Other fields of the request, such as `expired_in_days`; sent as they are."""


class SearchOptions(TypedDict, total=False):
    """Options of `search`."""

    project_id: str
    """Id of the rule whose nodes are searched. Default: the default rule for facts of the library."""

    project_ids: Sequence[str]
    """Ids of 1 to 5 rules; not together with `project_id`."""

    top_k: int
    """Maximum number of nodes, 1 to 100. Default of the service: 10."""

    min_score: float
    """Minimum score, 0 to 1. Default of the service: 0.3. The plan `lite` ignores it, so the two
    cannot be used together."""

    memory_types: Sequence[Literal["observation", "skill"]]
    """Kinds of nodes to search. Default of the service: only facts (`observation`)."""

    plan_version: PlanVersion
    """`pro` reranks the nodes, and costs more than `lite`. Default of the service: `pro`."""

    enable_rerank: bool
    """Older form of `plan_version`, and not together with it: False selects `lite`."""

    enable_judge: bool
    """Whether a model judges the nodes (older pages; the effect is unverified)."""

    enable_rewrite: bool
    """Whether a model rewrites the query (older pages; the effect is unverified)."""

    extra_parameters: Mapping[str, Any]
    """Other fields of the request, such as `query_timestamp`; sent as they are."""


def build_request(
    path: str,
    body: dict[str, Any] | None = None,
    *,
    method: str = "POST",
    params: dict[str, str] | None = None,
    repeatable: bool = True,
) -> ServiceRequest:
    """Return a request below the path of the memory library.

    Args:
        path: Path below `apps/memory`.
        body: JSON body.
        method: HTTP method.
        params: Query parameters.
        repeatable: Whether the request may run twice. If not, it is repeated only if it did not run.
    """
    return ServiceRequest(
        f"{_ROOT}/{path}",
        body,
        method=method,
        params=params,
        api_version="v2",
        retry_on="failure" if repeatable else "throttling",
    )


def build_add(
    path: Literal["add", "add-async"],
    library_id: str | None,
    user_id: str,
    messages: Messages | None = None,
    *,
    custom_content: str | None = None,
    project_id: str | None = None,
    project_ids: Sequence[str] | None = None,
    profile_schema: str | None = None,
    extract_mode: str | None = None,
    meta_data: Mapping[str, Any] | None = None,
    timestamp: int | None = None,
    skill_name: str | None = None,
    skill_description: str | None = None,
    skill_tags: Sequence[str] | None = None,
    extra_parameters: Mapping[str, Any] | None = None,
) -> ServiceRequest:
    """Return the request for an add; see `AddOptions`.

    Raises:
        ValueError: A value is invalid.
    """
    if (messages is None) == (custom_content is None):
        message = "pass either `messages` or `custom_content`: the service would ignore the messages"
        raise ValueError(message)
    wire_messages = None if messages is None else to_wire_messages(messages)
    if wire_messages is not None and len(wire_messages) > _MAX_MESSAGES:
        message = (
            f"invalid `messages`: expected at most {_MAX_MESSAGES}, got {len(wire_messages)}; add them "
            "in several calls"
        )
        raise ValueError(message)
    if extract_mode is not None:
        check_choice(extract_mode, ("profile_only",), name="extract_mode")
        if wire_messages is None or profile_schema is None:
            message = "`extract_mode='profile_only'` requires `messages` and `profile_schema`"
            raise ValueError(message)
    if custom_content is not None:
        _check_custom_content(custom_content)
        if project_ids is not None:
            message = "cannot use `project_ids` with `custom_content`: pass one `project_id`"
            raise ValueError(message)
    body = {
        "user_id": check_user_id(user_id),
        "messages": wire_messages,
        "custom_content": custom_content,
        **_build_scope(library_id, project_id, project_ids),
        "profile_schema": check_optional_text(profile_schema, name="profile_schema"),
        "extract_mode": extract_mode,
        "meta_data": _check_meta_data(meta_data),
        "timestamp": _check_timestamp(timestamp),
        **_build_skill(skill_name, skill_description, skill_tags),
    }
    return build_request(path, merge_extra(body, extra_parameters), repeatable=False)


def build_search(
    library_id: str | None,
    user_id: str,
    messages: Messages,
    *,
    project_id: str | None = None,
    project_ids: Sequence[str] | None = None,
    top_k: int | None = None,
    min_score: float | None = None,
    memory_types: Sequence[str] | None = None,
    plan_version: str | None = None,
    enable_rerank: bool | None = None,
    enable_judge: bool | None = None,
    enable_rewrite: bool | None = None,
    extra_parameters: Mapping[str, Any] | None = None,
) -> ServiceRequest:
    """Return the request for a search; see `SearchOptions`.

    Raises:
        ValueError: A value is invalid.
    """
    if top_k is not None:
        check_int(top_k, name="top_k", minimum=1, maximum=_MAX_TOP_K)
    if plan_version is not None:
        check_choice(plan_version, _PLAN_VERSIONS, name="plan_version")
        if enable_rerank is not None:
            message = (
                "cannot use `enable_rerank` with `plan_version`, which takes precedence: remove it"
            )
            raise ValueError(message)
    if min_score is not None:
        is_number = isinstance(min_score, int | float) and not isinstance(min_score, bool)
        if not (is_number and 0 <= min_score <= 1):
            message = f"invalid `min_score`: expected a number from 0 to 1, got {min_score!r}"
            raise ValueError(message)
        if plan_version == "lite" or enable_rerank is False:
            message = (
                "cannot use `min_score` with the plan `lite`, which ignores it: remove one of them"
            )
            raise ValueError(message)
    if memory_types is not None:
        _check_texts(memory_types, name="memory_types")
        for memory_type in memory_types:
            check_choice(memory_type, _MEMORY_TYPES, name="memory_types")
    body = {
        "user_id": check_user_id(user_id),
        "messages": to_wire_messages(messages),
        **_build_scope(library_id, project_id, project_ids),
        "top_k": top_k,
        "min_score": min_score,
        "memory_types": None if memory_types is None else list(memory_types),
        "plan_version": plan_version,
        "enable_rerank": enable_rerank,
        "enable_judge": enable_judge,
        "enable_rewrite": enable_rewrite,
    }
    return build_request("memory_nodes/search", merge_extra(body, extra_parameters))


def build_list_nodes(
    library_id: str | None, user_id: str, *, project_id: str | None, page: int, page_size: int
) -> ServiceRequest:
    """Return the request for a page of nodes.

    Raises:
        ValueError: A value is invalid.
    """
    params = {"user_id": check_user_id(user_id)}
    if project_id is not None:
        params["project_id"] = check_text(project_id, name="project_id")
    params |= build_library_params(library_id) | build_page_params(page, page_size)
    return build_request("memory_nodes", method="GET", params=params)


def build_update_node(
    library_id: str | None,
    node_id: str,
    content: str,
    *,
    meta_data: Mapping[str, Any] | None,
    timestamp: int | None,
    skill_name: str | None,
    skill_description: str | None,
    skill_tags: Sequence[str] | None,
) -> ServiceRequest:
    """Return the request that changes a node.

    Raises:
        ValueError: A value is invalid.
    """
    body = {
        "custom_content": _check_custom_content(content, name="content"),
        "meta_data": _check_meta_data(meta_data),
        "timestamp": _check_timestamp(timestamp),
        **_build_skill(skill_name, skill_description, skill_tags),
        **build_library_params(library_id),
    }
    return build_request(node_path(node_id), merge_extra(body), method="PATCH")


def node_path(node_id: str) -> str:
    """Return the path of a node.

    Raises:
        ValueError: The id is invalid.
    """
    return f"memory_nodes/{check_id(node_id, name='node_id')}"


def build_delete_user(user_id: str) -> ServiceRequest:
    """Return the request that deletes all nodes of a user.

    Raises:
        ValueError: The id is invalid.
    """
    if check_user_id(user_id) in {".", ".."}:
        message = f"invalid `user_id` {user_id!r}: as part of a URL, it would name another resource"
        raise ValueError(message)
    return build_request(f"entities/user/{quote(user_id, safe='')}", method="DELETE")


def merge_extra(
    body: Mapping[str, Any], extra_parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the fields that are set, with those of `extra_parameters`.

    Raises:
        ValueError: A field is also an argument of the method.
    """
    for name in extra_parameters or ():
        if name in body:
            message = f"invalid `extra_parameters`: `{name}` is an option of its own; pass it there"
            raise ValueError(message)
    merged = {**body, **(extra_parameters or {})}
    return {name: value for name, value in merged.items() if value is not None}


def build_library_params(library_id: str | None) -> dict[str, str]:
    """Return the field for the id of a memory library, without one for the default library.

    Raises:
        ValueError: The id is invalid.
    """
    if library_id is None:
        return {}
    # Checked again because a field may have been assigned after validation.
    return {"memory_library_id": check_library_id(library_id)}


def check_library_id(library_id: str) -> str:
    """Return a valid id of a memory library.

    Raises:
        ValueError: The id is invalid.
    """
    library_id = check_id(library_id, name="memory_library_id")
    if len(library_id) > _MAX_LIBRARY_ID_CHARS:
        message = (
            f"invalid `memory_library_id`: expected at most {_MAX_LIBRARY_ID_CHARS} characters, got "
            f"{len(library_id)}"
        )
        raise ValueError(message)
    return library_id


def build_page_params(page: int, page_size: int) -> dict[str, str]:
    """Return the query parameters for a page.

    Raises:
        ValueError: The page size is not a positive integer.
    """
    check_int(page_size, name="page_size", minimum=1)
    return {"page_num": str(page), "page_size": str(page_size)}


def check_user_id(user_id: str) -> str:
    """Return a valid id of a user.

    Raises:
        ValueError: The id is not a string, or its length is invalid.
    """
    if not isinstance(user_id, str) or not user_id.strip() or len(user_id) > _MAX_USER_ID_CHARS:
        shown = f"{len(user_id)}" if isinstance(user_id, str) and user_id.strip() else repr(user_id)
        message = (
            f"invalid `user_id`: expected a string of 1 to {_MAX_USER_ID_CHARS} characters, got {shown}"
        )
        raise ValueError(message)
    return user_id


def check_text(value: Any, *, name: str, maximum: int | None = None) -> str:
    """Return a text that is not blank, and not longer than `maximum` characters.

    Raises:
        ValueError: The value is something else.
    """
    if not isinstance(value, str) or not value.strip():
        message = f"invalid `{name}`: expected text, got {value!r}"
        raise ValueError(message)
    if maximum is not None and len(value) > maximum:
        message = f"invalid `{name}`: expected at most {maximum} characters, got {len(value)}"
        raise ValueError(message)
    return value


def check_optional_text(value: Any, *, name: str, maximum: int | None = None) -> str | None:
    """Return None, or a text as in `check_text`.

    Raises:
        ValueError: The value is something else.
    """
    return None if value is None else check_text(value, name=name, maximum=maximum)


def check_choice(value: Any, choices: Sequence[str], *, name: str) -> None:
    """Require one of some values.

    Raises:
        ValueError: The value is another one.
    """
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        message = f"invalid `{name}`: expected {expected}, got {value!r}"
        raise ValueError(message)


def check_int(value: Any, *, name: str, minimum: int, maximum: int | None = None) -> None:
    """Require an integer in a range.

    Raises:
        ValueError: The value is something else.
    """
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if not is_int or value < minimum or (maximum is not None and value > maximum):
        expected = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        message = f"invalid `{name}`: expected an integer {expected}, got {value!r}"
        raise ValueError(message)


def _check_texts(values: Any, *, name: str, maximum: int | None = None) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        message = f"invalid `{name}`: expected a list of texts, got {values!r}"
        raise ValueError(message)
    if maximum is not None and len(values) > maximum:
        message = f"invalid `{name}`: expected at most {maximum} items, got {len(values)}"
        raise ValueError(message)
    return [check_text(value, name=f"{name}[{number}]") for number, value in enumerate(values)]


def _build_scope(
    library_id: str | None, project_id: str | None, project_ids: Sequence[str] | None
) -> dict[str, Any]:
    """Return the fields for the library and its rules; a field that is not set is None."""
    if project_id is not None and project_ids is not None:
        message = "cannot use `project_id` together with `project_ids`: pass one of them"
        raise ValueError(message)
    return {
        "memory_library_id": build_library_params(library_id).get("memory_library_id"),
        "project_id": check_optional_text(project_id, name="project_id"),
        "project_ids": None
        if project_ids is None
        else _check_texts(project_ids, name="project_ids", maximum=_MAX_PROJECTS),
    }


def _build_skill(
    name: str | None, description: str | None, tags: Sequence[str] | None
) -> dict[str, Any]:
    fields = {"skill_name": name, "skill_description": description, "skill_tags": tags}
    missing = [field for field, value in fields.items() if value is None]
    if missing and len(missing) < len(fields):
        message = f"missing `{missing[0]}`: pass all of {', '.join(f'`{field}`' for field in fields)}"
        raise ValueError(message)
    return {
        "skill_name": check_optional_text(name, name="skill_name"),
        "skill_description": check_optional_text(description, name="skill_description"),
        "skill_tags": None if tags is None else _check_texts(tags, name="skill_tags"),
    }


def _check_custom_content(content: str, *, name: str = "custom_content") -> str:
    return check_text(content, name=name, maximum=_MAX_CONTENT_CHARS)


def _check_meta_data(meta_data: Any) -> dict[str, Any] | None:
    if meta_data is not None and not isinstance(meta_data, Mapping):
        message = f"invalid `meta_data`: expected a dict, got {type(meta_data).__name__}"
        raise ValueError(message)
    return None if meta_data is None else dict(meta_data)


def _check_timestamp(timestamp: int | None) -> int | None:
    if timestamp is not None:
        check_int(timestamp, name="timestamp", minimum=0)
    return timestamp
