"""`BailianMemoryMiddleware` for `create_agent` of LangChain; requires the `langchain` extra."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NotRequired

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
    from langchain.agents.middleware.types import PrivateStateAttr
except ImportError as exc:
    _MISSING_PACKAGE = (
        "missing package langchain, required for `BailianMemoryMiddleware`: "
        "pip install 'langchain-bailian-app[langchain]'"
    )
    raise ImportError(_MISSING_PACKAGE) from exc
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langgraph.config import get_config
from langgraph.runtime import Runtime

from langchain_bailian_app.memory._prompts import format_facts
from langchain_bailian_app.memory._user_memory import (
    BailianUserMemory,
    check_user_id,
    user_id_from_configurable,
)

__all__ = ["BailianMemoryMiddleware"]


class _MemoryState(AgentState[Any]):
    """State of an agent with the facts that were recalled for this run."""

    bailian_facts: NotRequired[Annotated[list[str], PrivateStateAttr]]


class BailianMemoryMiddleware(AgentMiddleware[_MemoryState, Any, Any]):
    """Middleware that gives an agent a memory of its users.

    Once per run, it recalls facts that fit the newest question, and adds them to the system message of
    each model call. When the run has ended, it stores the question and the answer in the background.
    The messages of the agent do not contain the facts.

    The user is `user_id` in the runtime context (a key or an attribute), then `configurable.user_id`. A
    run without one is an error: it would use a memory that all users share.

    Setup:
        ```bash
        pip install 'langchain-bailian-app[langchain]'
        ```

    Use:
        ```py
        memory = BailianUserMemory()
        agent = create_agent(model, tools=[], middleware=[BailianMemoryMiddleware(memory)])
        agent.invoke(
            {"messages": [("human", "我喜欢爬山。")]}, {"configurable": {"user_id": "xiaoming"}}
        )
        ```

    Args:
        memory: The memory of the users.
    """

    state_schema = _MemoryState

    def __init__(self, memory: BailianUserMemory) -> None:
        super().__init__()
        self.memory = memory

    def before_agent(self, state: _MemoryState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Recall facts about the user."""
        return {"bailian_facts": self.memory.recall(_find_user_id(runtime), _find_question(state))}

    async def abefore_agent(self, state: _MemoryState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Async version of `before_agent`."""
        facts = await self.memory.arecall(_find_user_id(runtime), _find_question(state))
        return {"bailian_facts": facts}

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Add the facts to the system message of a model call."""
        return handler(_add_facts(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Async version of `wrap_model_call`."""
        return await handler(_add_facts(request))

    def after_agent(self, state: _MemoryState, runtime: Runtime[Any]) -> None:
        """Store the turn in the background."""
        answer = _find_answer(state["messages"])
        self.memory.remember(_find_user_id(runtime), _find_question(state), answer)

    async def aafter_agent(self, state: _MemoryState, runtime: Runtime[Any]) -> None:
        """Async version of `after_agent`."""
        self.after_agent(state, runtime)


def _find_user_id(runtime: Runtime[Any]) -> str:
    """Return the id of the user.

    Raises:
        ValueError: It is missing or invalid.
    """
    context = runtime.context
    user_id = context.get("user_id") if isinstance(context, dict) else getattr(context, "user_id", None)
    if user_id is not None:
        return check_user_id(str(user_id) if isinstance(user_id, int) else user_id)
    return user_id_from_configurable(get_config().get("configurable"))


def _find_question(state: _MemoryState) -> str:
    texts = [message.text for message in state["messages"] if isinstance(message, HumanMessage)]
    return texts[-1] if texts else ""


def _find_answer(messages: list[AnyMessage]) -> str:
    last = messages[-1] if messages else None
    return last.text if isinstance(last, AIMessage) else ""


def _add_facts(request: ModelRequest[Any]) -> ModelRequest[Any]:
    state: Any = request.state
    facts = state.get("bailian_facts") or []
    if not facts:
        return request
    text = format_facts(facts, _find_question(state))
    prompt = request.system_message
    if prompt is not None:
        text = f"{prompt.text}\n\n{text}"
    return request.override(system_message=SystemMessage(text))


BailianMemoryMiddleware.__module__ = "langchain_bailian_app.memory"
