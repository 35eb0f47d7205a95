"""Requests of `BailianMemoryLibrary` for profile schemas (画像模板) and the profiles of users.

The limits of names and texts are those of the reference pages of 2026-11. That `immutable` requires a
`default_value` is from the service's own command line tool.
"""

from collections.abc import Sequence
from typing import Any

from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.memory._records import AttributeOperation, ProfileAttribute
from langchain_bailian_app.memory._requests import (
    build_library_params,
    build_page_params,
    build_request,
    check_choice,
    check_optional_text,
    check_text,
    check_user_id,
    merge_extra,
)

_MAX_NAME_CHARS = 32
_MAX_TEXT_CHARS = 128
_PLAN_VERSIONS, _EXTRACT_SCENES = ("pro", "lite"), ("efficient", "intelligent")
_OPERATIONS = ("add", "update", "delete")


def build_create_schema(
    library_id: str | None,
    name: str,
    attributes: Sequence[ProfileAttribute],
    *,
    description: str | None,
    plan_version: str | None,
    extract_scene: str | None,
) -> ServiceRequest:
    """Return the request that creates a schema.

    Raises:
        ValueError: A value is invalid.
    """
    if plan_version == "lite" and extract_scene == "intelligent":
        message = "`extract_scene='intelligent'` requires `plan_version='pro'`"
        raise ValueError(message)
    body = {
        "name": check_text(name, name="name", maximum=_MAX_NAME_CHARS),
        "attributes": _build_attributes(attributes),
        **_build_settings(description, plan_version, extract_scene),
        **build_library_params(library_id),
    }
    return build_request("profile_schemas", merge_extra(body), repeatable=False)


def build_list_schemas(library_id: str | None, *, page: int, page_size: int) -> ServiceRequest:
    """Return the request for a page of schemas.

    Raises:
        ValueError: A value is invalid.
    """
    params = build_library_params(library_id) | build_page_params(page, page_size)
    return build_request("profile_schemas", method="GET", params=params)


def build_update_schema(
    library_id: str | None,
    schema_id: str,
    *,
    name: str | None,
    description: str | None,
    plan_version: str | None,
    extract_scene: str | None,
    operations: Sequence[AttributeOperation] | None,
) -> ServiceRequest:
    """Return the request that changes a schema.

    Raises:
        ValueError: A value is invalid, or nothing would change.
    """
    wire_operations = None
    if operations is not None:
        _check_items(operations, AttributeOperation, name="operations")
        wire_operations = [_build_operation(item, number) for number, item in enumerate(operations)]
    changes = merge_extra(
        {
            "name": check_optional_text(name, name="name", maximum=_MAX_NAME_CHARS),
            **_build_settings(description, plan_version, extract_scene),
            "attributes_operations": wire_operations,
        }
    )
    if not changes:
        message = (
            "nothing to change: pass `name`, `description`, `plan_version`, `extract_scene` or "
            "`operations`"
        )
        raise ValueError(message)
    # Not repeatable: an attribute could be added twice.
    body = changes | build_library_params(library_id)
    return build_request(schema_path(schema_id), body, method="PATCH", repeatable=False)


def build_get_profile(
    library_id: str | None, schema_id: str, user_id: str, *, need_detail: bool
) -> ServiceRequest:
    """Return the request for the profile of a user.

    Raises:
        ValueError: A value is invalid.
    """
    params = {"user_id": check_user_id(user_id)} | build_library_params(library_id)
    if need_detail:
        params["need_detail"] = "true"
    return build_request(f"{schema_path(schema_id)}/user_profile", method="GET", params=params)


def schema_path(schema_id: str) -> str:
    """Return the path of a schema.

    Raises:
        ValueError: The id is invalid.
    """
    return f"profile_schemas/{check_id(schema_id, name='schema_id')}"


def _build_settings(
    description: Any, plan_version: str | None, extract_scene: str | None
) -> dict[str, Any]:
    if plan_version is not None:
        check_choice(plan_version, _PLAN_VERSIONS, name="plan_version")
    if extract_scene is not None:
        check_choice(extract_scene, _EXTRACT_SCENES, name="extract_scene")
    if description is not None and not isinstance(description, str):
        message = f"invalid `description`: expected text, got {description!r}"
        raise ValueError(message)
    return {
        "description": description,
        "plan_version": plan_version,
        "extract_scene": extract_scene,
    }


def _build_attributes(attributes: Sequence[ProfileAttribute]) -> list[dict[str, Any]]:
    _check_items(attributes, ProfileAttribute, name="attributes")
    wire_attributes = []
    for number, attribute in enumerate(attributes):
        path = f"attributes[{number}]"
        if attribute.id is not None:
            message = f"invalid `{path}`: its `id` is assigned by the service; leave it out"
            raise ValueError(message)
        fields = {
            "name": check_text(attribute.name, name=f"{path}.name", maximum=_MAX_NAME_CHARS),
            **_build_attribute_texts(path, attribute),
        }
        wire_attributes.append(merge_extra(fields, attribute.extra))
    return wire_attributes


def _build_attribute_texts(
    path: str, attribute: ProfileAttribute | AttributeOperation
) -> dict[str, Any]:
    if attribute.immutable and attribute.default_value is None:
        message = f"missing `{path}.default_value`, because the attribute is immutable"
        raise ValueError(message)
    texts = {"description": attribute.description, "default_value": attribute.default_value}
    for name, text in texts.items():
        if text:
            check_text(text, name=f"{path}.{name}", maximum=_MAX_TEXT_CHARS)
    return {**texts, "immutable": attribute.immutable}


def _build_operation(operation: AttributeOperation, number: int) -> dict[str, Any]:
    path = f"operations[{number}]"
    check_choice(operation.op, _OPERATIONS, name=f"{path}.op")
    required = "name" if operation.op == "add" else "attribute_id"
    if not getattr(operation, required):
        message = f"missing `{path}.{required}`, because its `op` is {operation.op!r}"
        raise ValueError(message)
    inapplicable_names = {
        "add": ("attribute_id",),
        "update": ("immutable",),
        "delete": ("name", "description", "default_value", "immutable"),
    }[operation.op]
    for name in inapplicable_names:
        if getattr(operation, name) is not None:
            message = f"cannot use `{path}.{name}` if `op` is {operation.op!r}: remove it"
            raise ValueError(message)
    return merge_extra(
        {
            "op": operation.op,
            "attribute_id": check_optional_text(operation.attribute_id, name=f"{path}.attribute_id"),
            "name": check_optional_text(operation.name, name=f"{path}.name", maximum=_MAX_NAME_CHARS),
            **_build_attribute_texts(path, operation),
        }
    )


def _check_items(items: Any, item_type: type, *, name: str) -> None:
    is_list = isinstance(items, Sequence) and not isinstance(items, str)
    if not is_list or not items or not all(isinstance(item, item_type) for item in items):
        message = f"invalid `{name}`: expected a list of at least one `{item_type.__name__}`"
        raise ValueError(message)
