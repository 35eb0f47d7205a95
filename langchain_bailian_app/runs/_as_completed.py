"""`as_completed` and `aas_completed`: several runs, in the order in which they end."""

from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing, closing

from langchain_bailian_app.runs._run import BailianRun
from langchain_bailian_app.runs._waiting import QUERIES_PER_SECOND, aiter_ended, iter_ended


def as_completed(
    runs: Iterable[BailianRun],
    *,
    timeout: float | None = None,
    progress: bool | None = None,
    queries_per_second: float = QUERIES_PER_SECOND,
) -> Generator[BailianRun]:
    """Yield each run once, as soon as it is known to have ended.

    `result` of a yielded run does not wait: it returns the answer or raises the error of the run. A run
    that the service does not know any more is yielded too, and its `result` raises
    `BailianNotFoundError`.

    ```python
    from langchain_bailian_app import BailianAppChatModel, BailianError
    from langchain_bailian_app.runs import as_completed

    model = BailianAppChatModel()
    runs = [model.submit(question) for question in ("什么是滞报金？", "什么是完税价格？")]
    for run in as_completed(runs, timeout=3600):
        try:
            print(run.id, run.result().text)
        except BailianError as error:
            print(run.id, error)
    ```

    Args:
        runs: The runs; they may belong to several applications.
        timeout: Maximum seconds to wait for all of them. Default: no limit.
        progress: Whether to show a progress bar, which requires tqdm. None (default): in a terminal or
            a notebook, if tqdm is installed.
        queries_per_second: Limit for all runs together. Default: 20.

    Raises:
        BailianTimeoutError: Some runs have not ended in time; they go on.
        BailianError: A query failed for a reason that concerns all runs, such as a wrong key, or the
            queries for one run failed 8 times in succession. No run is lost: call it again.
        ValueError: `timeout` or `queries_per_second` is not a positive number.
    """
    runs = list(runs)
    ended = iter_ended(
        [run._tracker for run in runs],  # noqa: SLF001 - for this package
        timeout=timeout,
        progress=progress,
        queries_per_second=queries_per_second,
    )
    with closing(ended):
        for index in ended:
            yield runs[index]


async def aas_completed(
    runs: Iterable[BailianRun],
    *,
    timeout: float | None = None,  # noqa: ASYNC109  # as in the sync version
    progress: bool | None = None,
    queries_per_second: float = QUERIES_PER_SECOND,
) -> AsyncGenerator[BailianRun]:
    """Async version of `as_completed`."""
    runs = list(runs)
    ended = aiter_ended(
        [run._tracker for run in runs],  # noqa: SLF001 - for this package
        timeout=timeout,
        progress=progress,
        queries_per_second=queries_per_second,
    )
    async with aclosing(ended):
        async for index in ended:
            yield runs[index]
