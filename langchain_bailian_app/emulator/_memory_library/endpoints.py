"""Endpoints of memory libraries under `/api/v2/apps/memory`.

Paths, fields and shapes are those of the documentation and of recorded exchanges. What they leave open
is in `MemoryLibrarySettings`.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_bailian_app.emulator._http.app import Endpoint
from langchain_bailian_app.emulator._http.errors import ErrorReply, RequestRefused, refuse
from langchain_bailian_app.emulator._http.exchange import HttpExchange
from langchain_bailian_app.emulator._http.fields import get_typed
from langchain_bailian_app.emulator._memory_library import requests
from langchain_bailian_app.emulator._memory_library.extraction import read_text, score_similarity
from langchain_bailian_app.emulator._memory_library.store import (
    AddJob,
    MemoryLibraryStore,
    StoredAttribute,
    StoredNode,
    StoredSchema,
)

_Fields: TypeAlias = Mapping[str, Any]
_Handler: TypeAlias = Callable[[_Fields, str], dict[str, Any]]
"""Function that receives the fields of the query and the body, and the id in the path."""

_ROOT = "/apps/memory"
_NODE, _SCHEMA = f"{_ROOT}/memory_nodes/{{node_id}}", f"{_ROOT}/profile_schemas/{{schema_id}}"


@dataclass(frozen=True)
class _Operation:
    name: str
    method: str
    path: str
    handler: _Handler


class MemoryLibraryEndpoints:
    """The endpoints, on a store of memory libraries."""

    def __init__(self, store: MemoryLibraryStore) -> None:
        self._store = store

    def by_route(self) -> dict[tuple[str, str], Endpoint]:
        """Return the endpoints by method and path."""
        operations = [
            _Operation("AddMemory", "POST", f"{_ROOT}/add", self._add),
            _Operation("AddMemoryAsync", "POST", f"{_ROOT}/add-async", self._add_async),
            _Operation("GetEvent", "GET", f"{_ROOT}/events/{{event_id}}", self._get_event),
            _Operation("SearchMemory", "POST", f"{_ROOT}/memory_nodes/search", self._search),
            _Operation("SearchMemory", "POST", f"{_ROOT}/search", self._search_at_old_path),
            _Operation("ListMemory", "GET", f"{_ROOT}/memory_nodes", self._list),
            _Operation("GetMemoryNode", "GET", _NODE, self._get),
            _Operation("UpdateMemory", "PATCH", _NODE, self._update),
            _Operation("DeleteMemory", "DELETE", _NODE, self._delete),
            _Operation("GetSkillExport", "GET", f"{_ROOT}/skill/export/{{node_id}}", self._export),
            _Operation("CreateProfileSchema", "POST", f"{_ROOT}/profile_schemas", self._create_schema),
            _Operation("ListProfileSchemas", "GET", f"{_ROOT}/profile_schemas", self._list_schemas),
            _Operation("GetProfileSchema", "GET", _SCHEMA, self._get_schema),
            _Operation("UpdateProfileSchema", "PATCH", _SCHEMA, self._update_schema),
            _Operation("DeleteProfileSchema", "DELETE", _SCHEMA, self._delete_schema),
            _Operation("GetUserProfile", "GET", f"{_SCHEMA}/user_profile", self._get_profile),
            _Operation(
                "DeleteEntity", "DELETE", f"{_ROOT}/entities/user/{{user_id:path}}", self._delete_user
            ),
        ]
        return {
            (operation.method, operation.path): self._build_endpoint(operation)
            for operation in operations
        }

    def _build_endpoint(self, operation: _Operation) -> Endpoint:
        async def respond(exchange: HttpExchange, path_id: str) -> None:
            fields = dict(exchange.record.query)
            try:
                self._check_faults_and_quota(operation.name)
                if operation.method in {"POST", "PATCH"}:
                    fields |= exchange.json()
                self._store.run_due_jobs()
                result = operation.handler(fields, path_id)
            except RequestRefused as refused:
                reply = refused.reply
                headers = {"x-request-id": exchange.request_id, **reply.headers}
                await exchange.send_error(ErrorReply(reply.status, reply.code, reply.message, headers))
                return
            if self._store.faults.take_lost_reply(operation.name):
                await exchange.abort()
                return
            is_slow = operation.name == "AddMemory" and not fields.get("custom_content")
            delay = self._store.settings.extract_delay if is_slow else 0.0
            await exchange.send_json({"request_id": exchange.request_id, **result}, delay=delay)

        return respond

    def _check_faults_and_quota(self, operation_name: str) -> None:
        store, settings = self._store, self._store.settings
        error = store.faults.errors.get(operation_name)
        if error is not None and error.take():
            raise RequestRefused(error)
        limits = {"calls": settings.calls_per_minute}
        if operation_name in {"AddMemory", "AddMemoryAsync"}:
            limits["adds"] = settings.adds_per_minute
        elif operation_name == "SearchMemory":
            limits["searches"] = settings.searches_per_minute
        for kind, limit in limits.items():
            if not store.is_within_quota(kind, limit):
                message = f"The quota of {limit} {kind} per minute is exceeded."
                raise RequestRefused(ErrorReply(429, settings.quota_code, message))

    # -- adding ------------------------------------------------------------------------------------

    def _add(self, body: _Fields, _id: str) -> dict[str, Any]:
        requests.check_add(body)
        if self._store.settings.sync_fields == "refuse" and (
            body.get("project_ids") or requests.has_tool_messages(body)
        ):
            requests.refuse_invalid("project_ids and tool messages are not supported.")
        jobs = self._start_jobs(body, delay=0.0)
        self._store.run_due_jobs()
        results = [result for job in jobs for result in job.result if "memory_node_id" in result]
        return {
            "memory_nodes": [
                {name: value for name, value in result.items() if name != "memory_type"}
                for result in results
            ]
        }

    def _add_async(self, body: _Fields, _id: str) -> dict[str, Any]:
        requests.check_add(body)
        jobs = self._start_jobs(body, delay=self._store.settings.extract_delay)
        return {"event_id": jobs[0].event_id, "events": [_describe_job(job) for job in jobs]}

    def _start_jobs(self, body: _Fields, *, delay: float) -> list[AddJob]:
        requests.read_user_id(body)
        library_id = self._find_library(body)
        projects = self._store.find_projects(library_id, requests.read_project_ids(body))
        schema_id = get_typed(body, "profile_schema", str)
        schema = self._store.find_schema(schema_id, library_id) if schema_id else None
        if body.get("custom_content"):
            for project in projects:
                requests.check_skill(body, project)
        if body.get("extract_mode") == "profile_only":
            projects = []
        return self._store.start_jobs(body, library_id, projects, schema, delay=delay)

    def _get_event(self, _fields: _Fields, event_id: str) -> dict[str, Any]:
        # As recorded, the order differs from that in the reply to the add.
        return {"events": [_describe_job(job) for job in reversed(self._store.find_jobs(event_id))]}

    # -- nodes -------------------------------------------------------------------------------------

    def _search(self, body: _Fields, _id: str) -> dict[str, Any]:
        messages = get_typed(body, "messages", list)
        if not messages:
            requests.refuse_invalid("messages is required.")
        requests.check_messages(messages, maximum=None)
        query = "\n".join(read_text(message.get("content")) for message in messages)
        return self._find_similar(body, query)

    def _search_at_old_path(self, body: _Fields, _id: str) -> dict[str, Any]:
        if not self._store.settings.legacy_search:
            refuse("NotFound")
        query = get_typed(body, "query", str) or requests.refuse_invalid("query is required.")
        names = {"max_results": "top_k", "similarity_threshold": "min_score"}
        return self._find_similar({names.get(name, name): body[name] for name in body}, query)

    def _find_similar(self, body: _Fields, query: str) -> dict[str, Any]:
        store, settings = self._store, self._store.settings
        user_id, library_id = requests.read_user_id(body), self._find_library(body)
        projects = store.find_projects(library_id, requests.read_project_ids(body))
        types = requests.read_memory_types(body, singular_wins=settings.type_alias == "singular")
        plan, top_k = requests.read_plan_version(body), requests.read_top_k(body)
        min_score = requests.read_min_score(body)
        if plan == "lite":
            if any(project.memory_type == "skill" for project in projects):
                requests.refuse_invalid("plan_version lite does not support skill projects.")
            min_score = 0.0
        nodes = [
            _describe_node(node) | {"score": score_similarity(query, node.content)}
            for node in store.visible_nodes(library_id, user_id, projects, lag=settings.index_lag)
            if node.project.memory_type in types
        ]
        found = [node for node in nodes if node["score"] >= min_score]
        found.sort(key=lambda node: node["score"], reverse=True)
        return {"plan_version": plan, "memory_nodes": found[:top_k]}

    def _list(self, query: _Fields, _id: str) -> dict[str, Any]:
        user_id, library_id = requests.read_user_id(query), self._find_library(query)
        projects = self._store.find_projects(library_id, requests.read_project_ids(query))
        page, size = requests.read_page(query, self._store.settings.page_max)
        nodes = self._store.visible_nodes(library_id, user_id, projects)[::-1]
        return {
            "memory_nodes": [_describe_node(node) for node in nodes[(page - 1) * size : page * size]],
            "total": len(nodes),
            "page_num": page,
            "page_size": size,
        }

    def _get(self, _fields: _Fields, node_id: str) -> dict[str, Any]:
        node = self._store.find_node(node_id)
        return {"memory_node": _describe_node(node) | {"media_urls": []}}

    def _export(self, _fields: _Fields, node_id: str) -> dict[str, Any]:
        node = self._store.find_node(node_id)
        skill = node.skill or {}
        return {
            "memory_node": _describe_node(node) | {"content": node.content, "media_urls": [], **skill}
        }

    def _update(self, body: _Fields, node_id: str) -> dict[str, Any]:
        node = self._store.find_node(node_id, self._find_library(body))
        content = requests.read_content(body)
        requests.check_skill(body, node.project)
        if node.skill is not None:
            node.skill = {name: body[name] for name in node.skill}
        node.content, node.updated_at = content, self._store.unix_time()
        node.meta_data |= body.get("meta_data") or {}
        node.timestamp = body.get("timestamp") or node.timestamp
        return {}

    def _delete(self, query: _Fields, node_id: str) -> dict[str, Any]:
        self._store.find_node(node_id, self._find_library(query)).status = "delete"
        return {}

    def _delete_user(self, _fields: _Fields, user_id: str) -> dict[str, Any]:
        if not self._store.delete_user(user_id):
            message = f"The entity {user_id} does not exist."
            raise RequestRefused(ErrorReply(404, "EntityNotFound", message))
        return {}

    # -- profiles ----------------------------------------------------------------------------------

    def _create_schema(self, body: _Fields, _id: str) -> dict[str, Any]:
        library_id, name = self._find_library(body), requests.read_name(body)
        attributes = get_typed(body, "attributes", list)
        if not attributes:
            requests.refuse_invalid("attributes is required.")
        plan = requests.read_plan_version(body)
        schema = StoredSchema(
            schema_id=uuid.uuid4().hex,
            library_id=library_id,
            name=name,
            description=get_typed(body, "description", str) or "",
            plan_version=plan,
            extract_scene=requests.read_extract_scene(body, plan),
            attributes=[requests.read_attribute(item, uuid.uuid4().hex) for item in attributes],
        )
        self._store.schemas[schema.schema_id] = schema
        return {"profile_schema_id": schema.schema_id}

    def _list_schemas(self, query: _Fields, _id: str) -> dict[str, Any]:
        library_id = self._find_library(query)
        page, size = requests.read_page(query, self._store.settings.page_max)
        schemas = [
            {"profile_schema_id": schema.schema_id, **_describe_schema(schema)}
            for schema in self._store.schemas.values()
            if schema.library_id == library_id
        ]
        return {"profile_schemas": schemas[(page - 1) * size : page * size], "total": len(schemas)}

    def _get_schema(self, query: _Fields, schema_id: str) -> dict[str, Any]:
        schema = self._store.find_schema(schema_id, self._find_library(query))
        attributes = [_describe_attribute(attribute) for attribute in schema.attributes]
        return _describe_schema(schema) | {"attributes": attributes}

    def _update_schema(self, body: _Fields, schema_id: str) -> dict[str, Any]:
        schema = self._store.find_schema(schema_id, self._find_library(body))
        operations = get_typed(body, "attributes_operations", list) or []
        names = ("name", "description", "plan_version", "extract_scene")
        if not operations and not any(name in body for name in names):
            refuse("InvalidParameter", "Nothing to update.")
        name = requests.read_name(body) if "name" in body else schema.name
        plan = requests.read_plan_version(body, default=schema.plan_version)
        scene = requests.read_extract_scene(body, plan, schema.extract_scene)
        attributes = list(schema.attributes)
        for operation in operations:
            _apply_operation(attributes, operation)
        schema.name, schema.plan_version, schema.extract_scene = name, plan, scene
        schema.description = body.get("description", schema.description)
        schema.attributes = attributes
        return {}

    def _delete_schema(self, query: _Fields, schema_id: str) -> dict[str, Any]:
        self._store.find_schema(schema_id, self._find_library(query))
        del self._store.schemas[schema_id]
        return {}

    def _get_profile(self, query: _Fields, schema_id: str) -> dict[str, Any]:
        user_id = requests.read_user_id(query)
        schema = self._store.find_schema(schema_id, self._find_library(query))
        values = schema.values.get(user_id, {})
        attributes: list[dict[str, Any]] = []
        for attribute in schema.attributes:
            items = values.get(attribute.attribute_id, [])
            described = {"id": attribute.attribute_id, "name": attribute.name}
            if query.get("need_detail") == "true":
                attributes.append(described | {"value_items": items})
            elif items:
                text = "; ".join(item["value"] for item in items)
                attributes.append(described | {"value": text})
            else:
                attributes.append(described)
        profile = {"schema_name": schema.name, "schema_description": schema.description}
        return {"profile": profile | {"attributes": attributes}}

    def _find_library(self, fields: _Fields) -> str:
        return self._store.find_library(get_typed(fields, "memory_library_id", str))


def _apply_operation(attributes: list[StoredAttribute], operation: _Fields) -> None:
    op, attribute_id = operation.get("op"), operation.get("attribute_id")
    if op == "add":
        attributes.append(requests.read_attribute(dict(operation), uuid.uuid4().hex))
        return
    found = [attribute for attribute in attributes if attribute.attribute_id == attribute_id]
    if op not in {"update", "delete"} or not found:
        requests.refuse_invalid("op must be add, update or delete, with an existing attribute_id.")
    if op == "delete":
        attributes.remove(found[0])
        return
    if "name" in operation:
        found[0].name = requests.read_name(operation)
    requests.change_attribute(found[0], operation)


def _describe_job(job: AddJob) -> dict[str, Any]:
    return {
        "event_id": job.event_id,
        "event_type": "ADD_ASYNC",
        "memory_library_id": job.library_id,
        "resource_id": job.resource_id,
        "resource_type": job.resource_type,
        "status": job.status,
        "result": job.result,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "user_id": job.user_id,
    }


def _describe_node(node: StoredNode) -> dict[str, Any]:
    content = node.content
    if node.skill is not None:
        name, description, tags = node.skill.values()
        front_matter = f"Name: {name}\nDescription: {description}\nTags: {', '.join(tags)}"
        content = f"---\n{front_matter}\n---\n\n{content}"
    return {
        "memory_node_id": node.node_id,
        "content": content,
        "memory_type": node.project.memory_type,
        "status": node.status,
        "project_id": node.project.project_id,
        "meta_data": node.meta_data,
        "timestamp": node.timestamp,
        "created_at": node.created_at,
        "updated_at": node.updated_at,
    }


def _describe_schema(schema: StoredSchema) -> dict[str, Any]:
    return {
        "name": schema.name,
        "description": schema.description,
        "plan_version": schema.plan_version,
        "extract_scene": schema.extract_scene,
    }


def _describe_attribute(attribute: StoredAttribute) -> dict[str, Any]:
    described = {
        "attribute_id": attribute.attribute_id,
        "name": attribute.name,
        "description": attribute.description,
        "default_value": attribute.default_value,
        "immutable": attribute.immutable,
    }
    return {name: value for name, value in described.items() if value is not None}
