"""`BailianAppTool`: an application as a tool for another agent."""

from __future__ import annotations

from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForToolRun,
    CallbackManagerForToolRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import RunnableConfig, ensure_config, patch_config
from langchain_core.tools import ArgsSchema, BaseTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from langchain_bailian_app._settings.signature import with_readable_signature
from langchain_bailian_app.chat_models._model import BailianAppChatModel
from langchain_bailian_app.chat_models._runnable import drop_session
from langchain_bailian_app.options._biz_params import BizParams
from langchain_bailian_app.sessions._store import SessionStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

__all__ = ["PROGRESS", "BailianAppTool"]


PROGRESS = "bailian_app_progress"
"""Name of the custom events that report content blocks while the application answers."""

# LangChain passes the config to a parameter whose type is exactly `RunnableConfig`. Other frameworks do
# not pass it.
_NO_CONFIG: RunnableConfig = {}
_QUERY_DESCRIPTION = (
    "The complete question. The application does not see this conversation, so include all context."
)


@with_readable_signature
class BailianAppTool(BaseTool):
    """Tool with which another agent can call an application of Bailian (百炼).

    The calling model receives the text of the answer. The complete message, with its sources, steps
    and token usage, is in `ToolMessage.artifact`.

    Setup:
        ```bash
        pip install langchain-bailian-app
        export DASHSCOPE_API_KEY=... BAILIAN_APP_ID=...
        ```

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel, BailianAppTool

        customs = BailianAppTool(  # or with app_id="…"
            name="customs_terms",
            description="Explains customs terms. Ask in Chinese.",
        )
        weather = BailianAppTool(
            model=BailianAppChatModel(),
            name="weather",
            description="Returns the weather of a city.",
            variables={"city": (str, "城市"), "days": (int, "天数")},
            workflow=True,
        )
        ```

    Invoke:
        ```python
        customs.invoke({"query": "什么是滞报金？"})  # the text
        args = {"query": "什么是滞报金？"}
        call = {"name": "customs_terms", "args": args, "id": "1", "type": "tool_call"}
        message = await customs.ainvoke(call)
        message.content, message.artifact.usage_metadata
        ```

    Use in an agent:
        ```python
        from langchain.agents import create_agent

        # Any model that supports tool calling; an application does with `tool_calling="prompt"`.
        agent = create_agent(BailianAppChatModel(tool_calling="prompt"), tools=[customs, weather])
        ```

    Stream:
        While the application answers, each content block is reported as a custom event.

        ```python
        from langchain_bailian_app.tools import PROGRESS

        async for event in customs.astream_events({"query": "什么是滞报金？"}):
            if event["name"] == PROGRESS:
                print(event["data"]["tool"], event["data"]["block"])
        ```

    Conversations:
        Without a `session_store`, each call is independent. With one, the tool has a separate session
        for each thread of the outer conversation (`configurable.thread_id`), so the application
        remembers earlier calls in that thread. A second call at the same time gets a new session, with
        a warning. Time travel in the outer graph does not rewind the application's session.

    Raises:
        ToolException: An error that the calling model can correct: a question without text, or a
            request that the service rejects. By default (`handle_tool_error=True`) its message is
            returned to the calling model instead.
        BailianError: An error that the calling model cannot correct: an invalid key, missing
            permissions, an exhausted quota, or a failure of the service.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    model: BailianAppChatModel
    """The application. You can also pass its fields directly to the tool: `app_id`, `rag_options`, …"""

    variables: dict[str, Any] | None = None
    """Variables of the application, by name. The calling model provides their values.

    A definition is a type, a pair of a type and a description (`{"city": (str, "城市")}`), or any other
    field definition that `pydantic.create_model` accepts."""

    workflow: bool = False
    """True if the variables are inputs of a workflow, False for prompt variables of an agent."""

    session_store: SessionStore | None = Field(default=None, exclude=True)
    """Store of sessions; with one, the application remembers earlier calls in the same thread."""

    args_schema: ArgsSchema = BaseModel  # built from `variables`
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    """What the tool returns: the text and the message, or only the text. Set `"content"` for other
    frameworks that call LangChain's tools, such as AutoGen."""

    handle_tool_error: Any = True
    handle_validation_error: Any = Field(default_factory=lambda: _format_validation_error)

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str,
            description: str,
            model: BailianAppChatModel | None = None,
            variables: dict[str, Any] | None = None,
            workflow: bool = False,
            session_store: SessionStore | None = None,
            **fields: Any,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _make_model(cls, values: Any) -> Any:
        """Create the arguments schema, and create the model from fields that the tool does not have."""
        if not isinstance(values, dict):
            return values
        own_fields = {name: value for name, value in values.items() if name in cls.model_fields}
        fields = {name: value for name, value in values.items() if name not in own_fields}
        model = own_fields.get("model")
        if isinstance(model, BailianAppChatModel):
            settings = {name: getattr(model, name) for name in type(model).model_fields}
            own_fields["model"] = type(model)(**settings | fields) if fields else model
        else:
            own_fields["model"] = BailianAppChatModel(**fields)
        return {"args_schema": _make_args_schema(own_fields.get("variables") or {})} | own_fields

    @model_validator(mode="after")
    def _apply_session_store(self) -> Self:
        if self.session_store is not None:
            self.model = self.model.model_copy(update={"session_store": self.session_store})
        return self

    def _run(
        self,
        query: str,
        *,
        config: RunnableConfig = _NO_CONFIG,
        run_manager: CallbackManagerForToolRun | None = None,
        **variables: Any,
    ) -> str | tuple[str, AIMessage]:
        config = ensure_config(config)
        child_config = _make_child_config(config, run_manager)
        options = self._build_call_options(config, variables)
        stream = cast("Generator[AIMessageChunk]", self.model.stream(query, child_config, **options))
        chunks: list[AIMessageChunk] = []
        with _as_tool_exception(), closing(stream):
            for chunk in stream:
                chunks.append(chunk)
                for progress in self._make_progress_events(chunk) if run_manager else ():
                    dispatch_custom_event(PROGRESS, progress, config=child_config)
        return self._make_result(chunks)

    async def _arun(
        self,
        query: str,
        *,
        config: RunnableConfig = _NO_CONFIG,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
        **variables: Any,
    ) -> str | tuple[str, AIMessage]:
        config = ensure_config(config)
        child_config = _make_child_config(config, run_manager)
        options = self._build_call_options(config, variables)
        stream = cast(
            "AsyncGenerator[AIMessageChunk]", self.model.astream(query, child_config, **options)
        )
        chunks: list[AIMessageChunk] = []
        with _as_tool_exception():
            async with aclosing(stream):
                async for chunk in stream:
                    chunks.append(chunk)
                    for progress in self._make_progress_events(chunk) if run_manager else ():
                        await adispatch_custom_event(PROGRESS, progress, config=child_config)
        return self._make_result(chunks)

    def _build_call_options(self, config: RunnableConfig, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the options of the call."""
        options: dict[str, Any] = {"history": "messages"}
        thread_id = (config.get("configurable") or {}).get("thread_id")
        if self.session_store is not None and thread_id is not None:
            options = {"history": "thread", "session_key": f"{thread_id} {self.name}"}
        if variables:
            biz_params = self.model.biz_params.to_wire() if self.model.biz_params else {}
            if not self.workflow:
                variables = {"user_prompt_params": biz_params.get("user_prompt_params", {}) | variables}
            options["biz_params"] = BizParams(**biz_params | variables)
        return options

    def _make_progress_events(self, chunk: AIMessageChunk) -> list[dict[str, Any]]:
        return [{"tool": self.name, "block": block} for block in chunk.content_blocks]

    def _make_result(self, chunks: list[AIMessageChunk]) -> str | tuple[str, AIMessage]:
        first, *others = chunks
        message = cast("AIMessage", message_chunk_to_message(add_ai_message_chunks(first, *others)))
        return message.text if self.response_format == "content" else (message.text, message)


def _make_child_config(
    config: RunnableConfig,
    run_manager: CallbackManagerForToolRun | AsyncCallbackManagerForToolRun | None,
) -> RunnableConfig:
    return patch_config(
        drop_session(config), callbacks=run_manager.get_child() if run_manager else None
    )


def _make_args_schema(variables: dict[str, Any]) -> type[BaseModel]:
    reserved = {"query", "config", "run_manager"} & variables.keys()
    if reserved:
        message = (
            f"invalid variable name {min(reserved)!r}: the tool has an argument with this name; rename "
            "the variable"
        )
        raise ValueError(message)
    fields: dict[str, Any] = {"query": (str, Field(description=_QUERY_DESCRIPTION))}
    for name, variable in variables.items():
        match variable:
            case (annotation, str(description)):
                fields[name] = (annotation, Field(description=description))
            case tuple():
                fields[name] = variable
            case _:
                fields[name] = (variable, ...)
    return create_model("Question", **fields)


@contextmanager
def _as_tool_exception() -> Iterator[None]:
    """Raise errors that the calling model can correct as `ToolException`."""
    from langchain_bailian_app.errors import BailianRequestError, BailianSessionError

    try:
        yield
    except BailianSessionError:
        raise
    except (BailianRequestError, ValueError) as exc:
        raise ToolException(str(exc)) from exc


def _format_validation_error(error: Any) -> str:
    problems = [f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors()]
    return f"invalid arguments: {'; '.join(problems)}"
