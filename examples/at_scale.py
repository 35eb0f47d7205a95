"""Example of a large batch: many questions in many processes with Ray Data, under one rate limit.

    pip install '.[scale]'
    python examples/at_scale.py    # without a key: 2,000 questions to the emulator, killed and resumed

    export DASHSCOPE_API_KEY=… BAILIAN_APP_ID=… REDIS_URL=redis://…
    python examples/at_scale.py questions.jsonl answers/ --requests-per-minute 15000
    python examples/at_scale.py questions.jsonl answers/ --background

`questions.jsonl` contains lines like `{"id": "1", "question": "…"}` with unique ids. Answers are
appended to files in `answers/` as soon as they are complete, as `{"id": "1", "answer": "…", …}`.
Requests that may have run are not repeated after an error; they are recorded as
`{"id": "1", "error": {…}}`. After a crash, run the script again: it skips recorded questions, or only
answered ones with `--retry-failed`. A request that was in progress during a crash is sent again.

With `--background`, each question becomes a background run, for applications that need minutes. Its id
is recorded as soon as it has started, so that a run in progress during a crash is not started again.

On several machines, the folder must be shared, and each machine needs the three variables. `README.md`
in this folder shows the output of a run, and estimates the cost of a million questions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from at_scale_records import Record, Records, count_answers, remaining_questions

from langchain_bailian_app import BailianAppChatModel
from langchain_bailian_app.errors import BailianError
from langchain_bailian_app.rate_limits import RedisRateLimiter
from langchain_bailian_app.runs import BailianRun, aas_completed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from langchain_core.messages import AIMessage

T = TypeVar("T")
MAX_ATTEMPTS = 8
INITIAL_BACKOFF = 0.25  # seconds; doubled after each attempt


async def send(request: Callable[[str], Awaitable[T]], question: Record) -> T:
    """Send a question; retry requests that certainly did not run."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return await request(question["question"])
        except BailianError as error:
            if not error.is_retryable or attempt == MAX_ATTEMPTS:
                raise
            backoff = INITIAL_BACKOFF * 2**attempt * random.uniform(0.5, 1)  # noqa: S311  # jitter
            await asyncio.sleep(max(backoff, error.retry_after or 0))


async def answer_question(model: BailianAppChatModel, question: Record, records: Records) -> None:
    """Answer a question, and record the answer or the error."""
    try:
        message = await send(model.ainvoke, question)
    except BailianError as error:
        records.append(make_error_record(question, error))
    else:
        records.append(make_answer_record(question, message))


async def start_run(
    model: BailianAppChatModel, question: Record, records: Records
) -> BailianRun | None:
    """Return the run of a question: one that was started before a crash, or a new one."""
    run_id = records.find_run(question["id"])
    if run_id is not None:
        return BailianRun.from_id(run_id, model=model)
    try:
        run = await send(model.asubmit, question)
    except BailianError as error:
        records.append(make_error_record(question, error))
        return None
    records.append({"id": question["id"], "run": run.id})
    return run


def make_answer_record(question: Record, message: AIMessage) -> Record:
    details = {
        "usage": message.usage_metadata,
        "request_id": message.response_metadata.get("request_id"),
    }
    return {"id": question["id"], "answer": message.text, **details}


def make_error_record(question: Record, error: BailianError) -> Record:
    details = {"type": type(error).__name__, "code": error.code, "message": str(error)}
    return {"id": question["id"], "error": details | {"request_id": error.request_id}}


async def map_concurrently(
    function: Callable[[Record], Awaitable[T]], questions: Iterable[Record], concurrency: int
) -> list[T]:
    """Call a function for each question, with at most `concurrency` calls at a time."""
    pending, results = iter(questions), []

    async def process_pending() -> None:
        for question in pending:
            results.append(await function(question))  # noqa: PERF401  # the iterator is shared

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(process_pending())
    return results


async def answer_all(
    model: BailianAppChatModel, questions: Iterable[Record], concurrency: int, records: Records
) -> None:
    """Answer questions concurrently, and record each answer as soon as it is complete."""
    await map_concurrently(partial(answer_question, model, records=records), questions, concurrency)


async def answer_all_in_background(
    model: BailianAppChatModel, questions: Iterable[Record], concurrency: int, records: Records
) -> None:
    """Start a run for each question, wait for all of them, and record each answer when it is known."""

    async def start(question: Record) -> tuple[Record, BailianRun | None]:
        return question, await start_run(model, question, records)

    started = await map_concurrently(start, questions, concurrency)
    question_by_run = {run: question for question, run in started if run is not None}
    async for run in aas_completed(question_by_run):
        question = question_by_run[run]
        try:
            record = make_answer_record(question, await run.aresult())
        except BailianError as error:
            record = make_error_record(question, error)
        records.append(record | {"run": run.id})


class Worker:
    """Worker process with one model, which lives as long as the run."""

    def __init__(self, model: BailianAppChatModel, options: argparse.Namespace) -> None:
        # Ray sends no secrets to workers: the key and the Redis URL are read on this machine.
        limiter = RedisRateLimiter.from_url(
            os.environ["REDIS_URL"],
            key=model.app_id,
            requests_per_minute=options.requests_per_minute,
        )
        self.model = model.model_copy(update={"rate_limiter": limiter})
        self.records = Records(options.answers, retry_failed=options.retry_failed)
        self.concurrency, self.background = options.concurrency, options.background
        self.runner = asyncio.Runner()  # one event loop, so that connections stay open
        self.question_count, self.initial_usage = 0, (time.process_time(), peak_memory_mb())

    def __call__(self, batch: Any) -> dict[str, list[Any]]:
        self.records.refresh()  # another worker may have crashed on this batch
        questions = remaining_questions(batch.to_pylist(), self.records.done_ids)
        answer = answer_all_in_background if self.background else answer_all
        self.runner.run(answer(self.model, questions, self.concurrency, self.records))
        self.question_count += len(questions)
        cpu_s, idle_mb = self.initial_usage
        usage = {"question_count": self.question_count, "cpu_s": time.process_time() - cpu_s}
        usage |= {"idle_mb": idle_mb, "peak_mb": peak_memory_mb(), "pid": os.getpid()}
        return {name: [value] for name, value in usage.items()}


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(options: argparse.Namespace) -> None:
    """Answer the remaining questions with a pool of workers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # noqa: PLC0415  # only this function needs it

    questions = [json.loads(line) for line in options.questions.read_bytes().splitlines()]
    options.answers = options.answers.absolute()  # workers may have another working directory
    options.answers.mkdir(parents=True, exist_ok=True)
    records = Records(options.answers, retry_failed=options.retry_failed)
    records.refresh()
    remaining = remaining_questions(questions, records.done_ids)
    print(f"{len(questions)} questions, {len(remaining)} remaining")
    if remaining:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        blocks = -(-len(remaining) // options.batch)
        results = ray.data.from_items(remaining, override_num_blocks=blocks).map_batches(
            Worker,
            # The limiter counts every request only if the model itself does not retry.
            fn_constructor_args=(BailianAppChatModel(max_retries=0), options),
            compute=ray.data.ActorPoolStrategy(size=options.workers),
            batch_size=None,
            batch_format="pyarrow",
        )
        print_progress(results.iter_rows(), records, len(questions))
    print(count_answers(questions, Records(options.answers).read_new()))


def print_progress(batches: Iterable[Record], records: Records, total: int) -> None:
    """Print a line after each batch, and the resource usage of the workers at the end."""
    started_at, initial_count, workers = time.monotonic(), len(records.done_ids), {}
    for batch in batches:
        workers[batch["pid"]] = batch
        records.refresh()
        rate = (len(records.done_ids) - initial_count) / (time.monotonic() - started_at)
        print(f"{len(records.done_ids):>9} of {total}, {rate:.0f} per second", flush=True)
    for worker in workers.values():
        print("worker {pid}: {question_count} questions, {cpu_s:.1f} s CPU".format(**worker), end=", ")
        print("{idle_mb:.0f} MB initially, {peak_mb:.0f} MB peak".format(**worker))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("questions", type=Path, nargs="?", help="a JSON Lines file")
    parser.add_argument("answers", type=Path, nargs="?", help="a folder")
    parser.add_argument("--requests-per-minute", type=int, default=15_000, help="for all workers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=100, help="concurrent requests per worker")
    parser.add_argument("--batch", type=int, default=250, help="questions per batch of a worker")
    parser.add_argument("--retry-failed", action="store_true", help="repeat failed questions")
    parser.add_argument("--background", action="store_true", help="answer questions in background runs")
    options = parser.parse_args()
    if (options.questions is None) != (options.answers is None):
        parser.error(
            "missing `answers`: pass a file of questions and a folder for answers, or neither to run "
            "the demo"
        )
    if options.background and options.questions is None:
        parser.error("`--background` needs `questions` and `answers`: the demo has no background runs")
    return options


if __name__ == "__main__":
    arguments = parse_arguments()
    if arguments.questions is None:
        from at_scale_demo import run_demo

        sys.exit(run_demo(Path(__file__)))
    run(arguments)
