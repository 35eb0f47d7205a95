"""`BailianRun`: a background run of an application."""

from typing import Any, Self

from langchain_core.messages import AIMessage

from langchain_bailian_app._settings.connection import check_id
from langchain_bailian_app.runs._settings import RunSettings
from langchain_bailian_app.runs._state import RunStatus
from langchain_bailian_app.runs._tracker import RunTracker
from langchain_bailian_app.runs._waiting import aiter_ended, iter_ended


class BailianRun:
    """An answer that an application writes in the background, without an open connection.

    `BailianAppChatModel.submit` starts a run. `from_id` finds it again, in any process.

    Start and wait:
        ```python
        from langchain_bailian_app import BailianAppChatModel

        run = BailianAppChatModel().submit("什么是滞报金？")
        print(run.id)  # keep it, to find the run again after a crash
        message = run.result(timeout=3600)
        ```

    Find again:
        ```python
        from langchain_bailian_app.runs import BailianRun

        again = BailianRun.from_id(run.id)
        again.status(), again.result().text
        ```

    Async:
        ```python
        run = await BailianAppChatModel().asubmit("什么是滞报金？")
        message = await run.aresult()
        ```

    The final status of a run is kept in the object, so that later calls send nothing and agree. Objects
    can be pickled, without the API key; another process needs its own.

    Results have no sources, steps or token counts, because the route returns none.

    LangChain's callbacks are not called. A run may be read several times, and by another process than
    the one that started it, so a trace would contain its answer more than once. To trace a run, call
    `submit` and `result` in a `RunnableLambda`, or use the tools of `create_run_tools`.

    Unverified are the form of a failure's details, how long the service keeps finished runs, and how
    often it may be queried.

    Attributes:
        id: Id of the run, which the service assigned.
        app_id: Id of the application.
    """

    def __init__(self, tracker: RunTracker) -> None:
        self._tracker = tracker
        self.id = tracker.run_id
        self.app_id = tracker.settings.app_id

    @classmethod
    def from_id(cls, run_id: str, *, model: Any = None, **fields: Any) -> Self:
        """Return the run with this id, without a request.

        Args:
            run_id: Id of the run.
            model: `BailianAppChatModel` whose application, connection and settings for answers apply.
            fields: Without a model: `app_id`, `api_key`, `base_url` and other settings of the
                connection, `citation_markers` and `stop`, as for `BailianAppChatModel`.

        Raises:
            ValueError: The id or a field is invalid, or both a model and fields are passed.
        """
        if model is not None and fields:
            message = f"cannot use `{min(fields)}` together with `model`: set it on the model"
            raise ValueError(message)
        settings = RunSettings(**fields) if model is None else RunSettings.from_model(model)
        return cls(RunTracker(settings, check_id(run_id, name="run_id")))

    def status(self) -> RunStatus:
        """Query the status: `queued`, `running`, `completed`, `failed` or `cancelled`.

        A query is repeated up to `max_retries` times after failures that may pass.

        Raises:
            BailianNotFoundError: The run is unknown: deleted, not kept any more, or of another
                application.
            BailianError: The query failed.
        """
        return self._tracker.refresh().status

    async def astatus(self) -> RunStatus:
        """Async version of `status`."""
        return (await self._tracker.arefresh()).status

    def wait(self, timeout: float | None = None) -> RunStatus:
        """Wait until the run has ended and return its final status.

        The status is queried after 0.25 s, then less and less often, down to every 10 s. Failures that
        may pass do not end the wait, unless 8 queries fail in succession.

        Args:
            timeout: Maximum seconds to wait. Default: no limit.

        Raises:
            BailianTimeoutError: The run has not ended in time; it goes on.
            BailianError: The queries failed, or the run is unknown (`BailianNotFoundError`).
        """
        for _ in iter_ended([self._tracker], timeout=timeout):
            pass
        return self.status()

    async def await_until_ended(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # as in the sync version
    ) -> RunStatus:
        """Async version of `wait`."""
        async for _ in aiter_ended([self._tracker], timeout=timeout):
            pass
        return await self.astatus()

    def result(self, timeout: float | None = None) -> AIMessage:
        """Wait until the run has ended and return its answer; each call returns an equal message.

        `response_metadata` has `run_id`, `app_id`, `finish_reason` and `created_at` (Unix time), and
        `extra`: fields of the reply that this version does not recognize.

        Args:
            timeout: Maximum seconds to wait. Default: no limit.

        Raises:
            BailianRunCancelledError: The run was cancelled.
            BailianStreamError: The run is completed, but has no complete answer; see `partial`.
            BailianTimeoutError: The run has not ended in time; it goes on.
            BailianError: The run failed. The class follows from the code in the details, as for
                `invoke`; without a known code, it is a `BailianServerError`.
        """
        self.wait(timeout)
        return self._tracker.build_result()

    async def aresult(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # as in the sync version
    ) -> AIMessage:
        """Async version of `result`."""
        await self.await_until_ended(timeout)
        return self._tracker.build_result()

    def cancel(self) -> RunStatus:
        """Cancel the run and return its status.

        If the run had already ended, this is its final status, not `cancelled`.

        Raises:
            BailianError: The request failed, or the run is unknown (`BailianNotFoundError`).
        """
        return self._tracker.cancel().status

    async def acancel(self) -> RunStatus:
        """Async version of `cancel`."""
        return (await self._tracker.acancel()).status

    def delete(self) -> None:
        """Delete the run on the service, which accepts this only after its end.

        This object keeps a result that it has received. If the run is gone already, although the object
        has seen it before, it counts as deleted.

        Raises:
            BailianRequestError: The run has not ended.
            BailianError: The request failed, or the run is unknown (`BailianNotFoundError`).
        """
        self._tracker.delete()

    async def adelete(self) -> None:
        """Async version of `delete`."""
        await self._tracker.adelete()

    def __repr__(self) -> str:
        state = self._tracker.state
        status = "" if state is None else f", status={state.status!r}"
        return f"BailianRun(id={self.id!r}, app_id={self.app_id!r}{status})"
