"""Tools with which an agent starts background runs and collects their answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from langchain_bailian_app._request.run_request import check_run_options, reject_setting
from langchain_bailian_app.errors import (
    BailianError,
    BailianNotFoundError,
    BailianRequestError,
    BailianSessionError,
    BailianTimeoutError,
)
from langchain_bailian_app.runs._run import BailianRun
from langchain_bailian_app.runs._settings import RunSettings

_Query = Annotated[
    str,
    "The complete question. The application does not see this conversation, so include all context.",
]
_RunId = Annotated[str, "The id that the start tool has returned."]
_Result = tuple[str, AIMessage | None]


def create_run_tools(
    model: Any, *, name: str, description: str, wait_seconds: float = 10.0
) -> list[BaseTool]:
    """Return two tools: `start_{name}` starts a run, and `collect_{name}` returns its answer.

    An agent can start several runs, go on with other work, and collect them later, also in a later turn
    or in another process: it only keeps the ids, which are in its messages. `collect_{name}` waits for
    at most `wait_seconds`, and otherwise returns the status. The complete message is in
    `ToolMessage.artifact`.

    ```python
    from langchain.agents import create_agent
    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.runs import create_run_tools

    report = BailianAppChatModel()  # an application that needs minutes
    tools = create_run_tools(report, name="report", description="Writes a report on a topic.")
    # Any model that supports tool calling; an application does with `tool_calling="prompt"`.
    agent = create_agent(BailianAppChatModel(tool_calling="prompt"), tools=tools)
    ```

    Errors that the calling model can handle are returned to it as text: an invalid question, an unknown
    id, a run that failed or was cancelled. Other errors, such as a wrong key or a lost connection, are
    raised. The config of the agent is not passed on.

    Args:
        model: `BailianAppChatModel` of the application that runs.
        name: Name of the application, used in the names of the tools.
        description: What the application does.
        wait_seconds: Maximum seconds for which `collect_{name}` waits. Default: 10.

    Raises:
        ValueError: The model is another object, or has a setting that background runs cannot have.
    """
    RunSettings.from_model(model)
    check_run_options(model)
    reject_setting("memory_ids", model.memory_ids)

    def start(query: _Query) -> str:
        with _as_tool_exception():
            return _describe_start(model.submit(query), name)

    async def astart(query: _Query) -> str:
        with _as_tool_exception():
            return _describe_start(await model.asubmit(query), name)

    def collect(run_id: _RunId) -> _Result:
        with _as_tool_exception():
            run = BailianRun.from_id(run_id, model=model)
            try:
                run.wait(wait_seconds)
            except BailianTimeoutError:
                return _describe_unfinished(run.status(), name), None
        with _run_failure_as_tool_exception():
            message = run.result()
        return message.text, message

    async def acollect(run_id: _RunId) -> _Result:
        with _as_tool_exception():
            run = BailianRun.from_id(run_id, model=model)
            try:
                await run.await_until_ended(wait_seconds)
            except BailianTimeoutError:
                return _describe_unfinished(await run.astatus(), name), None
        with _run_failure_as_tool_exception():
            message = await run.aresult()
        return message.text, message

    return [
        StructuredTool.from_function(
            start,
            coroutine=astart,
            name=f"start_{name}",
            description=(
                f"{description} Starts this in the background and returns the id of the run; pass it "
                f"to collect_{name} to get the answer."
            ),
            handle_tool_error=True,
        ),
        StructuredTool.from_function(
            collect,
            coroutine=acollect,
            name=f"collect_{name}",
            description=f"Returns the answer of a run of start_{name}, or its status if it goes on.",
            response_format="content_and_artifact",
            handle_tool_error=True,
        ),
    ]


def _describe_start(run: BailianRun, name: str) -> str:
    return f"Started run {run.id}. Call collect_{name} with this id to get the answer."


def _describe_unfinished(status: str, name: str) -> str:
    return f"The run is still {status}. Call collect_{name} again later."


@contextmanager
def _as_tool_exception() -> Iterator[None]:
    """Raise errors that the calling model can correct as `ToolException`."""
    try:
        yield
    except BailianSessionError:
        raise
    except (BailianNotFoundError, BailianRequestError, ValueError) as exc:
        raise ToolException(str(exc)) from exc


@contextmanager
def _run_failure_as_tool_exception() -> Iterator[None]:
    """Raise the error of a run that has ended as `ToolException`: an agent may go on without it."""
    try:
        yield
    except BailianError as exc:
        raise ToolException(str(exc)) from exc
