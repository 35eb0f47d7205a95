"""`BailianAppChatModel`: an application of Bailian (百炼) as a LangChain chat model."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from langchain_core.caches import BaseCache
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils import from_env
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, model_validator

from langchain_bailian_app._request.fields import NO_TOOLS_MESSAGE, CompletionFields
from langchain_bailian_app._settings.connection import Id
from langchain_bailian_app._version import __version__
from langchain_bailian_app.chat_models._content_blocks import PROVIDER
from langchain_bailian_app.chat_models._generation import GenerationMethods
from langchain_bailian_app.chat_models._structured_output import Method, StructuredOutput
from langchain_bailian_app.chat_models._token_count import count_message_tokens, encode_tokens
from langchain_bailian_app.chat_models._tool_prompt import render_tool_messages, tool_prompt_from_kwargs


class BailianAppChatModel(GenerationMethods):
    """An application of Bailian (百炼, Alibaba Cloud Model Studio) as a chat model.

    Setup:
        ```bash
        pip install langchain-bailian-app
        export DASHSCOPE_API_KEY=... BAILIAN_APP_ID=...
        ```

    Key init args:
        `app_id`, `api_key`, `workspace`, `base_url`: where the application is.
        `rag_options`, `biz_params`, `memory_id`, `enable_thinking`, `has_thoughts`: what to ask of it.
        `citation_markers`, `stop`: what becomes of its answer.
        All but the connection may also be given per call: `model.invoke("…", memory_id="…")`.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel

        model = BailianAppChatModel()  # or app_id="…", api_key="…"
        ```

    Invoke:
        ```python
        message = model.invoke("什么是滞报金？")
        message.content, message.usage_metadata, message.content_blocks
        ```

    Stream:
        ```python
        for chunk in model.stream("什么是滞报金？"):
            print(chunk.text, end="")
        ```

    Async:
        ```python
        message = await model.ainvoke("什么是滞报金？")
        async for chunk in model.astream("什么是滞报金？"):
            print(chunk.text, end="")
        ```

    Conversations:
        `history` says who keeps them. By default you do: the answer depends on the messages alone.

    Response metadata:
        `finish_reason`, `model_name`, `model_usage` (tokens of each model), `session_id`, `request_id`,
        `app_id`, and `extra`: fields of the service that this version does not know.
        `additional_kwargs` has the raw `thoughts` and `doc_references`.

    Raises:
        BailianError: The call failed; see `langchain_bailian_app.errors`.
        ValueError: An argument is wrong; nothing was sent.
    """

    model_config = ConfigDict(populate_by_name=True)

    _not_deepcopied: ClassVar = ("rate_limiter", "cache", "session_store", "memory_ids")

    app_id: Id = Field(
        default_factory=from_env(
            "BAILIAN_APP_ID", error_message="give `app_id` or set the variable BAILIAN_APP_ID"
        ),
        validate_default=True,
    )
    """Id of the application, from the console's application list. Default: `BAILIAN_APP_ID`."""

    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """LangChain's cache of answers, off by default: a cached answer adds no turn to a session and does
    not ask the knowledge base again."""

    @property
    def _llm_type(self) -> str:
        return "bailian-app"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = {"base_url", "workspace", "region", *CompletionFields.model_fields}
        # Tokens and signed URLs are in no dump.
        non_defaults = self.model_dump(include=names, exclude_none=True, exclude_defaults=True)
        return {"app_id": self.app_id} | non_defaults

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = kwargs.get("model") or self.app_id
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        return {
            "text_inputs": True,
            "image_inputs": True,
            "image_url_inputs": True,
            "text_outputs": True,
            "reasoning_output": True,
            "tool_calling": self.tool_calling is not None,
            "structured_output": False,
        }

    @model_validator(mode="after")
    def _set_bailian_app_version(self) -> Self:
        self._add_version("langchain-bailian-app", __version__)
        return self

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the application call tools that the caller runs; with `tool_calling="prompt"` only.

        Emulated: the tools are described in a system message, and calls are looked for in the text of
        the answer, where each is taken out and told as a whole; one that is only quoted is a call too.
        Names and JSON are checked: what cannot be run is in `invalid_tool_calls`, its `args` as it
        stands in the answer, and why in `response_metadata["tool_call_problems"]`. If an answer has
        calls of which none can be run, or no call though one must be made, the application is asked
        once more; its first text stays in the message. Arguments are not checked against the schema of
        the tool, which does that itself.

        Args:
            tools: Functions, pydantic classes, `BaseTool`s, or dicts as OpenAI writes them.
            tool_choice: `"auto"` (default), `"any"` or True: at least one must be called, the name of
                the one that must be, or `"none"`.
            parallel_tool_calls: False asks for one call at a time.
            kwargs: Keywords of every call: `memory_id`, `rag_options`, …

        Raises:
            NotImplementedError: Without `tool_calling="prompt"`; it says what to do instead.
            ValueError: `tool_choice` names no tool, or a tool is one that another provider runs; in a
                call: it has a session.
        """
        if self.tool_calling is None:
            raise NotImplementedError(NO_TOOLS_MESSAGE)
        tool_kwargs = {
            "tools": [convert_to_openai_tool(tool) for tool in tools],
            "tool_choice": tool_choice,
        }
        tool_kwargs |= {"parallel_tool_calls": parallel_tool_calls}
        tool_prompt_from_kwargs(tool_kwargs)  # says at once what is wrong
        bound_kwargs = {name: value for name, value in tool_kwargs.items() if value is not None}
        return super().bind(**bound_kwargs, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        include_raw: bool = False,
        method: Method = "json_schema",
        strict: bool | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Return a runnable that answers with objects instead of messages.

        The service has no parameter for it, and guarantees nothing: the last question tells the schema
        in words, and the JSON in the answer is looked for and checked. An answer that does not fit is
        asked for once more, with what is wrong, which costs a second call; then it is an error. No
        session is ever used: neither the schema nor a bad answer is to stand in it.

        While streaming, each part is all that has come so far, unchecked; the last part is checked.

        Args:
            schema: A pydantic class (the result is an instance), a `TypedDict` class or a JSON Schema
                (the result is a dict or a list). Of these two the shape is checked: types, required
                keys, enumerations, alternatives; not lengths, patterns or formats.
            include_raw: Return a dict of `raw`, the message, `parsed` and `parsing_error`.
            method: `"json_schema"`, `"function_calling"` and `"prompt"` are the same: words in the
                question. `"json_mode"` only asks for a JSON object; a schema is then checked, but not
                told, and may be left out.
            strict: No effect: nothing can be promised.
            kwargs: Keywords of every call: `memory_id`, `rag_options`, …

        Raises:
            ValueError: The schema or the method is none.
            OutputParserException: From the runnable: the second answer does not fit either. It is in
                `llm_output`.
        """
        return StructuredOutput(self, schema, method=method, include_raw=include_raw, kwargs=kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text by the Qwen tokenizer: an estimate, as the model may differ."""
        return encode_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return an estimate of the tokens of messages, by the Qwen tokenizer, without a request.

        What the application adds (its prompt, passages, memory) is not counted, nor are images.
        """
        if tools and self.tool_calling is None:
            raise NotImplementedError(NO_TOOLS_MESSAGE)
        if self.tool_calling is not None:
            prompt = tool_prompt_from_kwargs({"tools": tools})
            messages = prompt.add_instructions(messages) if prompt else render_tool_messages(messages)
        return count_message_tokens(messages)
