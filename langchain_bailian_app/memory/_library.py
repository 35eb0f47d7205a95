"""`BailianMemoryLibrary`, the client for memory libraries (记忆库), 长期记忆（新）."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, Unpack

from pydantic import AfterValidator

from langchain_bailian_app._request.service_request import ServiceRequest
from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app._settings.signature import with_readable_signature
from langchain_bailian_app._transport.request_state import OnSend
from langchain_bailian_app._transport.service_client_mixin import ServiceClientMixin
from langchain_bailian_app._transport.workspace_client import WorkspaceClient, WorkspaceReply
from langchain_bailian_app.errors import BailianNotFoundError, BailianTimeoutError
from langchain_bailian_app.memory._messages import Messages
from langchain_bailian_app.memory._profile_requests import (
    build_create_schema,
    build_get_profile,
    build_list_schemas,
    build_update_schema,
    schema_path,
)
from langchain_bailian_app.memory._progress import EventWait, Item, PageCursor
from langchain_bailian_app.memory._records import (
    AddResult,
    AttributeOperation,
    ExtractScene,
    LibraryNode,
    MemoryEvent,
    MemorySkill,
    PlanVersion,
    ProfileAttribute,
    ProfileSchema,
    SearchResult,
    UserProfile,
)
from langchain_bailian_app.memory._replies import (
    parse_add,
    parse_created_schema,
    parse_event,
    parse_node,
    parse_node_page,
    parse_profile,
    parse_schema,
    parse_schema_page,
    parse_search,
    parse_skill,
)
from langchain_bailian_app.memory._requests import (
    AddOptions,
    SearchOptions,
    build_add,
    build_delete_user,
    build_library_params,
    build_list_nodes,
    build_request,
    build_search,
    build_update_node,
    check_library_id,
    node_path,
)

_PAGE_SIZE = 100
_WAIT_SECONDS, _WAIT_INTERVAL = 120.0, 3.0

_ParsePage: TypeAlias = Callable[[WorkspaceReply], tuple[Sequence[Item], int | None]]
"""Function that returns the items of a page, and the number of all items if it is known."""


def _check_library_id(library_id: str | None) -> str | None:
    return None if library_id is None else check_library_id(library_id)


@with_readable_signature
class BailianMemoryLibrary(ServiceClientMixin):
    """Client for a memory library (记忆库): facts, skills and profiles of users, for any model.

    The service extracts facts from conversations by the rules (记忆规则) of the library, which you edit
    in the console. Everything belongs to a `user_id`, a string of your choice with at most 64
    characters: take it from your own authentication. Only the API key is needed. 长期记忆（新） is
    documented for Beijing only; activate it in the console, otherwise calls raise
    `BailianPermissionError`.

    How the service behaves:
        - An add may change or delete older nodes of the user, or change nothing.
        - Extraction takes about 30 seconds (recorded), even for `custom_content` that is submitted.
        - Without a `project_id`, only nodes of the default rule for facts are searched and listed.
        - A deleted node is not found any more, but can still be read by its id, with the status
          `delete`. Do not rely on `delete` to remove personal data at once.
        - Nodes may expire: sources name 180 days for the default rule, and no expiry.
        - An account can make 3000 calls per minute, of which 120 may add and 300 may search. Both are
          billed.

    Any number of threads and event loops can share one object. Each method has an async version whose
    name begins with `a`. A request is retried if the service throttles it. If it fails with a status of
    500 or more, or the connection is lost, it is only retried if it may run twice: `add`, `submit`,
    `create_profile_schema` and `update_profile_schema` are not, because facts or attributes could be
    stored twice. A method that receives an invalid value raises `ValueError` and sends nothing.

    Setup:
        ```bash
        pip install langchain-bailian-app
        export DASHSCOPE_API_KEY=...
        ```

    Instantiate:
        ```python
        from langchain_bailian_app.memory import BailianMemoryLibrary

        library = BailianMemoryLibrary()  # or memory_library_id="…"; default: the default library
        ```

    Use:
        ```python
        event = library.submit("xiaoming", [("human", "我喜欢爬山。"), ("ai", "记住了。")])
        library.wait_until_done(event)  # async: `await library.await_until_done(event)`, and so on
        for node in library.search("xiaoming", "周末做什么？").nodes:
            print(node.content, node.score)
        ```

    Profiles:
        ```python
        from langchain_bailian_app.memory import ProfileAttribute

        schema_id = library.create_profile_schema("旅客", [ProfileAttribute("爱好", "用户的爱好")])
        event = library.submit("xiaoming", "我的爱好是爬山。", profile_schema=schema_id)
        library.wait_until_done(event)
        for attribute in library.get_user_profile(schema_id, "xiaoming").attributes:
            print(attribute.name, attribute.value)
        ```
    """

    memory_library_id: Annotated[str | None, AfterValidator(_check_library_id)] = None
    """Id of the library, at most 32 characters. Default: the default library of the account."""

    def add(
        self, user_id: str, messages: Messages | None = None, **options: Unpack[AddOptions]
    ) -> AddResult:
        """Extract memories from messages, or store a text, and wait for the result.

        The response takes as long as the extraction, and the rules with the scene `intelligent` may
        exceed the time limit of the service; `submit` is recommended. Sources disagree about whether
        this method accepts tool messages and `project_ids`.

        Args:
            user_id: Id of the user, 1 to 64 characters.
            messages: A text of the user, or at most 50 messages, as LangChain messages or dicts. A
                system message is an error. Pass either this or `custom_content`.
            **options: See `AddOptions`.

        Raises:
            ValueError: A value is invalid; nothing was sent.
            BailianError: The request failed. If its response was lost, the memories may be stored.
        """
        request = build_add("add", self.memory_library_id, user_id, messages, **options)
        return parse_add(self._call(request))

    async def aadd(
        self, user_id: str, messages: Messages | None = None, **options: Unpack[AddOptions]
    ) -> AddResult:
        """Async version of `add`."""
        request = build_add("add", self.memory_library_id, user_id, messages, **options)
        return parse_add(await self._acall(request))

    def submit(
        self, user_id: str, messages: Messages | None = None, **options: Unpack[AddOptions]
    ) -> MemoryEvent:
        """Start to extract memories from messages, or to store a text, in the background.

        Args:
            user_id: Id of the user, 1 to 64 characters.
            messages: As in `add`. Tool messages and tool calls are used for skills only.
            **options: See `AddOptions`.

        Returns:
            The event, with an entry for each rule and for the profile schema. Pass it to
            `wait_until_done`, or ignore it.

        Raises:
            ValueError: A value is invalid; nothing was sent.
            BailianError: The request failed. If its response was lost, the extraction may have started.
        """
        request = build_add("add-async", self.memory_library_id, user_id, messages, **options)
        return parse_event(self._call(request))

    async def asubmit(
        self, user_id: str, messages: Messages | None = None, **options: Unpack[AddOptions]
    ) -> MemoryEvent:
        """Async version of `submit`."""
        request = build_add("add-async", self.memory_library_id, user_id, messages, **options)
        return parse_event(await self._acall(request))

    def get_event(self, event_id: str) -> MemoryEvent:
        """Return the current state of an event. Match its entries by `resource_id`, not by position.

        Raises:
            BailianError: The request failed.
        """
        return parse_event(self._call(_build_get_event(event_id)), event_id)

    async def aget_event(self, event_id: str) -> MemoryEvent:
        """Async version of `get_event`."""
        return parse_event(await self._acall(_build_get_event(event_id)), event_id)

    def wait_until_done(
        self,
        event: MemoryEvent | str,
        *,
        timeout: float = _WAIT_SECONDS,
        interval: float = _WAIT_INTERVAL,
    ) -> MemoryEvent:
        """Wait until all entries of an event have ended.

        Whether a search finds the new nodes at once is unverified.

        Args:
            event: The event that `submit` returned, or its id.
            timeout: Maximum seconds to wait. Default: 120.
            interval: Seconds between two queries. Default: 3.

        Returns:
            The event; its entries are in the order of `event`.

        Raises:
            BailianMemoryError: All entries have ended, and at least one is `FAILED` or `UNRECORDED`.
                Its `event` contains all of them.
            BailianTimeoutError: An entry did not end in time. The service continues with it, so do not
                submit the messages again; you can wait again.
            BailianError: A request failed.
        """
        wait = EventWait(event, timeout, interval)
        request = _build_get_event(wait.event_id)
        while True:
            try:
                reply = self._call(request, wait.query_timeout)
            except BailianTimeoutError:
                if not wait.has_expired:
                    raise
                reply = None
            if reply is not None and (ended := wait.accept(parse_event(reply, wait.event_id))):
                return ended
            time.sleep(wait.next_delay())

    async def await_until_done(
        self,
        event: MemoryEvent | str,
        *,
        timeout: float = _WAIT_SECONDS,  # noqa: ASYNC109  # as in `wait_until_done`
        interval: float = _WAIT_INTERVAL,
    ) -> MemoryEvent:
        """Async version of `wait_until_done`."""
        wait = EventWait(event, timeout, interval)
        request = _build_get_event(wait.event_id)
        while True:
            try:
                reply = await self._acall(request, wait.query_timeout)
            except BailianTimeoutError:
                if not wait.has_expired:
                    raise
                reply = None
            if reply is not None and (ended := wait.accept(parse_event(reply, wait.event_id))):
                return ended
            await asyncio.sleep(wait.next_delay())

    def search(
        self, user_id: str, messages: Messages, **options: Unpack[SearchOptions]
    ) -> SearchResult:
        """Return the nodes of a user that fit a question or a conversation, the best first.

        Args:
            user_id: Id of the user, 1 to 64 characters.
            messages: The question, or a conversation that ends with it.
            **options: See `SearchOptions`.

        Raises:
            ValueError: A value is invalid; nothing was sent.
            BailianError: The request failed.
        """
        return parse_search(
            self._call(build_search(self.memory_library_id, user_id, messages, **options))
        )

    async def asearch(
        self, user_id: str, messages: Messages, **options: Unpack[SearchOptions]
    ) -> SearchResult:
        """Async version of `search`."""
        return parse_search(
            await self._acall(build_search(self.memory_library_id, user_id, messages, **options))
        )

    def list(
        self, user_id: str, *, project_id: str | None = None, page_size: int = _PAGE_SIZE
    ) -> Iterator[LibraryNode]:
        """Return an iterator over the nodes of a user, without deleted ones.

        A page is requested when its first node is needed. A node may be missed if others are added or
        deleted during the iteration.

        Args:
            user_id: Id of the user, 1 to 64 characters.
            project_id: Id of the rule that extracted the nodes. Default: the default rule for facts;
                skills and nodes of other rules are only listed with the id of their rule.
            page_size: Nodes per request. Default: 100, which the service has accepted (recorded).

        Raises:
            ValueError: A value is invalid; nothing was sent.
            BailianError: A request failed.
        """

        def build(page: int) -> ServiceRequest:
            return build_list_nodes(
                self.memory_library_id, user_id, project_id=project_id, page=page, page_size=page_size
            )

        return self._iterate(build, parse_node_page)

    def alist(
        self, user_id: str, *, project_id: str | None = None, page_size: int = _PAGE_SIZE
    ) -> AsyncIterator[LibraryNode]:
        """Async version of `list`: `async for node in library.alist(…)`."""

        def build(page: int) -> ServiceRequest:
            return build_list_nodes(
                self.memory_library_id, user_id, project_id=project_id, page=page, page_size=page_size
            )

        return self._aiterate(build, parse_node_page)

    def get(self, node_id: str) -> LibraryNode:
        """Return a node, also one that was deleted; then its status is `delete`.

        Raises:
            BailianNotFoundError: No node has this id.
            BailianError: The request failed.
        """
        return parse_node(self._call(build_request(node_path(node_id), method="GET")))

    async def aget(self, node_id: str) -> LibraryNode:
        """Async version of `get`."""
        return parse_node(await self._acall(build_request(node_path(node_id), method="GET")))

    def update(
        self,
        node_id: str,
        content: str,
        *,
        meta_data: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        skill_name: str | None = None,
        skill_description: str | None = None,
        skill_tags: Sequence[str] | None = None,
    ) -> None:
        """Replace the content of a node.

        Args:
            node_id: Id of the node.
            content: The new content, 1 to 512 characters.
            meta_data: Keys to add or replace; the others remain.
            timestamp: The new time, in seconds since 1970. Default: unchanged.
            skill_name: Name of a skill. The service requires all three fields for a skill.
            skill_description: Description of a skill.
            skill_tags: Tags of a skill.

        Raises:
            ValueError: A value is invalid; nothing was sent.
            BailianNotFoundError: No node has this id.
            BailianError: The request failed.
        """
        self._call(
            build_update_node(
                self.memory_library_id,
                node_id,
                content,
                meta_data=meta_data,
                timestamp=timestamp,
                skill_name=skill_name,
                skill_description=skill_description,
                skill_tags=skill_tags,
            )
        )

    async def aupdate(
        self,
        node_id: str,
        content: str,
        *,
        meta_data: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        skill_name: str | None = None,
        skill_description: str | None = None,
        skill_tags: Sequence[str] | None = None,
    ) -> None:
        """Async version of `update`."""
        await self._acall(
            build_update_node(
                self.memory_library_id,
                node_id,
                content,
                meta_data=meta_data,
                timestamp=timestamp,
                skill_name=skill_name,
                skill_description=skill_description,
                skill_tags=skill_tags,
            )
        )

    def delete(self, node_id: str) -> None:
        """Delete a node: it is not searched or listed any more, but `get` still returns it.

        Raises:
            BailianNotFoundError: No node has this id.
            BailianError: The request failed.
        """
        self._delete(self._build_delete(node_path(node_id)))

    async def adelete(self, node_id: str) -> None:
        """Async version of `delete`."""
        await self._adelete(self._build_delete(node_path(node_id)))

    def export_skill(self, node_id: str) -> MemorySkill:
        """Return a skill with its name, description and tags as separate fields.

        Raises:
            BailianRequestError: The node is not a skill.
            BailianNotFoundError: No node has this id.
            BailianError: The request failed.
        """
        return parse_skill(self._call(_build_export(node_id)))

    async def aexport_skill(self, node_id: str) -> MemorySkill:
        """Async version of `export_skill`."""
        return parse_skill(await self._acall(_build_export(node_id)))

    def create_profile_schema(
        self,
        name: str,
        attributes: Sequence[ProfileAttribute],
        *,
        description: str | None = None,
        plan_version: PlanVersion | None = None,
        extract_scene: ExtractScene | None = None,
    ) -> str:
        """Create a profile schema and return its id.

        Args:
            name: 1 to 32 characters.
            attributes: The attributes to extract; at least one.
            description: Description for people and for the extracting model.
            plan_version: `pro` or `lite`. Default of the service: `pro`.
            extract_scene: `efficient`, or `intelligent`, which requires `pro`. Default of the service:
                `efficient`.

        Raises:
            ValueError: A value is invalid; nothing was sent.
            BailianError: The request failed. If its response was lost, the schema may exist.
        """
        request = build_create_schema(
            self.memory_library_id,
            name,
            attributes,
            description=description,
            plan_version=plan_version,
            extract_scene=extract_scene,
        )
        return parse_created_schema(self._call(request))

    async def acreate_profile_schema(
        self,
        name: str,
        attributes: Sequence[ProfileAttribute],
        *,
        description: str | None = None,
        plan_version: PlanVersion | None = None,
        extract_scene: ExtractScene | None = None,
    ) -> str:
        """Async version of `create_profile_schema`."""
        request = build_create_schema(
            self.memory_library_id,
            name,
            attributes,
            description=description,
            plan_version=plan_version,
            extract_scene=extract_scene,
        )
        return parse_created_schema(await self._acall(request))

    def list_profile_schemas(self, *, page_size: int = _PAGE_SIZE) -> Iterator[ProfileSchema]:
        """Return an iterator over the schemas of the library, without their attributes.

        A library may contain a schema that the service made.

        Raises:
            ValueError: The page size is invalid; nothing was sent.
            BailianError: A request failed.
        """

        def build(page: int) -> ServiceRequest:
            return build_list_schemas(self.memory_library_id, page=page, page_size=page_size)

        return self._iterate(build, parse_schema_page)

    def alist_profile_schemas(self, *, page_size: int = _PAGE_SIZE) -> AsyncIterator[ProfileSchema]:
        """Async version of `list_profile_schemas`."""

        def build(page: int) -> ServiceRequest:
            return build_list_schemas(self.memory_library_id, page=page, page_size=page_size)

        return self._aiterate(build, parse_schema_page)

    def get_profile_schema(self, schema_id: str) -> ProfileSchema:
        """Return a schema with its attributes and their ids.

        Raises:
            BailianNotFoundError: No schema has this id.
            BailianError: The request failed.
        """
        request = self._build_get(schema_path(schema_id))
        return parse_schema(self._call(request), schema_id)

    async def aget_profile_schema(self, schema_id: str) -> ProfileSchema:
        """Async version of `get_profile_schema`."""
        request = self._build_get(schema_path(schema_id))
        return parse_schema(await self._acall(request), schema_id)

    def update_profile_schema(
        self,
        schema_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        plan_version: PlanVersion | None = None,
        extract_scene: ExtractScene | None = None,
        operations: Sequence[AttributeOperation] | None = None,
    ) -> None:
        """Change a schema; what is None remains.

        Args:
            schema_id: Id of the schema.
            name: The new name, 1 to 32 characters.
            description: The new description.
            plan_version: `pro` or `lite`.
            extract_scene: `efficient` or `intelligent`.
            operations: Attributes to add, change or delete.

        Raises:
            ValueError: A value is invalid, or nothing would change; nothing was sent.
            BailianNotFoundError: No schema has this id.
            BailianError: The request failed. If its response was lost, the schema may have changed.
        """
        request = build_update_schema(
            self.memory_library_id,
            schema_id,
            name=name,
            description=description,
            plan_version=plan_version,
            extract_scene=extract_scene,
            operations=operations,
        )
        self._call(request)

    async def aupdate_profile_schema(
        self,
        schema_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        plan_version: PlanVersion | None = None,
        extract_scene: ExtractScene | None = None,
        operations: Sequence[AttributeOperation] | None = None,
    ) -> None:
        """Async version of `update_profile_schema`."""
        request = build_update_schema(
            self.memory_library_id,
            schema_id,
            name=name,
            description=description,
            plan_version=plan_version,
            extract_scene=extract_scene,
            operations=operations,
        )
        await self._acall(request)

    def delete_profile_schema(self, schema_id: str) -> None:
        """Delete a schema. The reference pages do not list this operation; it was recorded.

        Raises:
            BailianNotFoundError: No schema has this id.
            BailianError: The request failed.
        """
        self._delete(self._build_delete(schema_path(schema_id)))

    async def adelete_profile_schema(self, schema_id: str) -> None:
        """Async version of `delete_profile_schema`."""
        await self._adelete(self._build_delete(schema_path(schema_id)))

    def get_user_profile(
        self, schema_id: str, user_id: str, *, need_detail: bool = False
    ) -> UserProfile:
        """Return the profile of a user. Without extracted values, its attributes have none.

        Args:
            schema_id: Id of the profile schema.
            user_id: Id of the user, 1 to 64 characters.
            need_detail: Whether to return the single values of an attribute instead of one text.

        Raises:
            ValueError: A value is invalid; nothing was sent.
            BailianNotFoundError: No schema has this id.
            BailianError: The request failed.
        """
        request = build_get_profile(self.memory_library_id, schema_id, user_id, need_detail=need_detail)
        return parse_profile(self._call(request))

    async def aget_user_profile(
        self, schema_id: str, user_id: str, *, need_detail: bool = False
    ) -> UserProfile:
        """Async version of `get_user_profile`."""
        request = build_get_profile(self.memory_library_id, schema_id, user_id, need_detail=need_detail)
        return parse_profile(await self._acall(request))

    def delete_user(self, user_id: str) -> None:
        """Delete the memories of a user.

        Undocumented: the reference pages do not contain this operation, but it was recorded, and an
        official package calls it. It names no library, so which libraries it affects, and whether it
        deletes profiles, is unverified. It may change without notice.

        Raises:
            ValueError: The id is invalid; nothing was sent.
            BailianNotFoundError: The user has no memories.
            BailianError: The request failed.
        """
        self._delete(build_delete_user(user_id))

    async def adelete_user(self, user_id: str) -> None:
        """Async version of `delete_user`."""
        await self._adelete(build_delete_user(user_id))

    def _build_get(self, path: str) -> ServiceRequest:
        params = build_library_params(self.memory_library_id)
        return build_request(path, method="GET", params=params or None)

    def _build_delete(self, path: str) -> ServiceRequest:
        params = build_library_params(self.memory_library_id)
        return build_request(path, method="DELETE", params=params or None)

    def _call(
        self,
        request: ServiceRequest,
        query_timeout: float | None = None,
        on_send: OnSend | None = None,
    ) -> WorkspaceReply:
        return self._create_client(query_timeout).call(request, on_send)

    async def _acall(
        self,
        request: ServiceRequest,
        query_timeout: float | None = None,
        on_send: OnSend | None = None,
    ) -> WorkspaceReply:
        return await self._create_client(query_timeout).acall(request, on_send)

    def _create_client(self, query_timeout: float | None) -> WorkspaceClient:
        fields = self
        if query_timeout is not None:
            total_timeout = min(query_timeout, self.total_timeout or query_timeout)
            fields = self.model_copy(update={"total_timeout": total_timeout})
        return WorkspaceClient(fields, self._resolve_connection())

    def _delete(self, request: ServiceRequest) -> None:
        attempts = _Attempts()
        try:
            self._call(request, on_send=attempts)
        except BailianNotFoundError:
            if not attempts.may_have_run_before:
                raise

    async def _adelete(self, request: ServiceRequest) -> None:
        attempts = _Attempts()
        try:
            await self._acall(request, on_send=attempts)
        except BailianNotFoundError:
            if not attempts.may_have_run_before:
                raise

    def _iterate(
        self, build: Callable[[int], ServiceRequest], parse: _ParsePage[Item]
    ) -> Iterator[Item]:
        build(1)  # an invalid value is an error now, not at the first item

        def iterate() -> Iterator[Item]:
            cursor: PageCursor[Item] = PageCursor()
            while cursor.has_more:
                yield from cursor.accept(*parse(self._call(build(cursor.page))))

        return iterate()

    def _aiterate(
        self, build: Callable[[int], ServiceRequest], parse: _ParsePage[Item]
    ) -> AsyncIterator[Item]:
        build(1)

        async def iterate() -> AsyncIterator[Item]:
            cursor: PageCursor[Item] = PageCursor()
            while cursor.has_more:
                for item in cursor.accept(*parse(await self._acall(build(cursor.page)))):
                    yield item

        return iterate()


class _Attempts:
    """Number of times that a request was sent and may have run; see `OnSend`."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, *, may_have_run: bool) -> None:
        self._count += 1 if may_have_run else -1

    @property
    def may_have_run_before(self) -> bool:
        """Whether an attempt before the last one may have run: its response was lost."""
        return self._count > 1


def _build_get_event(event_id: str) -> ServiceRequest:
    return build_request(f"events/{check_id(event_id, name='event')}", method="GET")


def _build_export(node_id: str) -> ServiceRequest:
    return build_request(f"skill/export/{check_id(node_id, name='node_id')}", method="GET")
