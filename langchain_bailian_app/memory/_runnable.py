"""`RunnableWithBailianMemory`: an application that remembers its users in a memory library."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config

from langchain_bailian_app.memory._prompts import format_facts
from langchain_bailian_app.memory._user_memory import BailianUserMemory, user_id_from_configurable
from langchain_bailian_app.options import BizParams


class RunnableWithBailianMemory(Runnable[LanguageModelInput, AIMessage]):
    """Chat model that recalls facts about the user before each answer, and stores the turn after it.

    The user is `configurable.user_id` in the config of a call; a call without one is an error. Facts
    are passed in a prompt variable of the application, or as a system message. A turn is stored in the
    background, once its answer is complete. If the memory fails, the answer is given without it.

    Instantiate:
        ```python
        from langchain_bailian_app import BailianAppChatModel
        from langchain_bailian_app.memory import BailianUserMemory, RunnableWithBailianMemory

        memory = BailianUserMemory()
        assistant = RunnableWithBailianMemory(BailianAppChatModel(), memory, variable="memories")
        ```

    Use:
        ```python
        config = {"configurable": {"user_id": "xiaoming"}}
        print(assistant.invoke("我喜欢爬山。", config).text)
        memory.flush()  # wait until the turn was sent
        ```

    Args:
        model: The chat model: an application, or any other.
        memory: The memory of the users.
        variable: Name of a prompt variable (自定义变量) of the application that receives the facts; it
            is empty if there are none. Default: a system message, only if there are facts.
    """

    def __init__(
        self, model: BaseChatModel, memory: BailianUserMemory, *, variable: str | None = None
    ) -> None:
        self.model = model
        self.memory = memory
        self.variable = variable

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        user_id, messages, question = self._read_input(input, config)
        facts = self.memory.recall(user_id, question)
        answer = self.model.invoke(
            self._add_message(messages, facts, question),
            config,
            **self._add_variable(kwargs, facts, question),
        )
        self.memory.remember(user_id, question, answer.text)
        return answer

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        user_id, messages, question = self._read_input(input, config)
        facts = await self.memory.arecall(user_id, question)
        answer = await self.model.ainvoke(
            self._add_message(messages, facts, question),
            config,
            **self._add_variable(kwargs, facts, question),
        )
        self.memory.remember(user_id, question, answer.text)
        return answer

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        user_id, messages, question = self._read_input(input, config)
        facts = self.memory.recall(user_id, question)
        texts: list[str] = []
        for chunk in self.model.stream(
            self._add_message(messages, facts, question),
            config,
            **self._add_variable(kwargs, facts, question),
        ):
            texts.append(chunk.text)
            yield chunk
        self.memory.remember(user_id, question, "".join(texts))

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        user_id, messages, question = self._read_input(input, config)
        facts = await self.memory.arecall(user_id, question)
        texts: list[str] = []
        async for chunk in self.model.astream(
            self._add_message(messages, facts, question),
            config,
            **self._add_variable(kwargs, facts, question),
        ):
            texts.append(chunk.text)
            yield chunk
        self.memory.remember(user_id, question, "".join(texts))

    def _read_input(
        self, input: LanguageModelInput, config: RunnableConfig | None
    ) -> tuple[str, list[BaseMessage], str]:
        """Return the user, the messages, and the newest question.

        Raises:
            ValueError: The user id is missing or invalid; nothing was sent.
        """
        user_id = user_id_from_configurable(ensure_config(config).get("configurable"))
        messages = self.model._convert_input(input).to_messages()  # noqa: SLF001  # LangChain's own
        questions = [message.text for message in messages if isinstance(message, HumanMessage)]
        return user_id, messages, questions[-1] if questions else ""

    def _add_message(
        self, messages: list[BaseMessage], facts: list[str], question: str
    ) -> list[BaseMessage]:
        if self.variable is not None or not facts:
            return messages
        return [SystemMessage(format_facts(facts, question)), *messages]

    def _add_variable(self, kwargs: dict[str, Any], facts: list[str], question: str) -> dict[str, Any]:
        """Return the arguments of the call with the facts in the prompt variable."""
        if self.variable is None:
            return kwargs
        given = kwargs.get("biz_params") or getattr(self.model, "biz_params", None) or BizParams()
        biz_params = BizParams(**given) if isinstance(given, dict) else given
        variables = {
            **(biz_params.user_prompt_params or {}),
            self.variable: format_facts(facts, question),
        }
        return kwargs | {"biz_params": biz_params.model_copy(update={"user_prompt_params": variables})}
