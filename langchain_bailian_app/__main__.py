"""Command `python -m langchain_bailian_app doctor`, which checks an application and its settings."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._doctor.run import MAX_CALLS, run_checks
from langchain_bailian_app.options._biz_params import BizParams

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTRODUCTION = (
    f"Asks the application at most {MAX_CALLS} questions, which are billed as usual. "
    "Fix every `fail`; a `warn` may be normal for your application."
)
_DEFAULT_QUESTION = "什么是滞报金？"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 1 if a check failed, otherwise 0."""
    options = _make_parser().parse_args(arguments)
    connection: dict[str, Any] = {"timeout": options.timeout}
    with ExitStack() as stack:
        if options.emulator:
            connection |= _start_emulator(stack)
        print(_INTRODUCTION)  # noqa: T201  # a command prints
        failed = 0
        call_options = {"biz_params": options.biz_params}
        for check, state, message in run_checks(
            options.question, call_options=call_options, connection=connection
        ):
            print(f"{state:<8}{check:<13}{message}", flush=True)  # noqa: T201
            failed = failed or state == "fail" or (options.strict and state == "warn")
    return int(failed)


def _start_emulator(stack: ExitStack) -> dict[str, str]:
    """Start an emulator, and return the fields that connect a model to it."""
    from langchain_bailian_app.emulator import BailianEmulator  # noqa: PLC0415  # an extra

    bailian = stack.enter_context(BailianEmulator())
    return {"app_id": bailian.app_id, "api_key": bailian.api_key, "base_url": bailian.base_url}


def _parse_biz_params(text: str) -> BizParams:
    try:
        return BizParams(**json.loads(text))
    except (ValueError, TypeError) as exc:
        # Without the value, which may contain `user_defined_tokens`.
        message = """expected a JSON object with variables, like '{"city": "杭州"}'"""
        raise argparse.ArgumentTypeError(message) from exc


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m langchain_bailian_app")
    commands = parser.add_subparsers(required=True, dest="command", metavar="doctor")
    doctor = commands.add_parser(
        "doctor",
        help="check address, key, workspace, application, streaming, thoughts, references and sessions",
        description=f"Reads the same environment variables as `BailianAppChatModel`. {_INTRODUCTION}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    doctor.add_argument(
        "--emulator", action="store_true", help="start a local emulator and check it instead"
    )
    doctor.add_argument(
        "--question",
        default=_DEFAULT_QUESTION,
        help="question to ask, ideally one that the documents of the application answer",
    )
    doctor.add_argument(
        "--biz-params",
        type=_parse_biz_params,
        metavar="JSON",
        help="variables that a workflow requires",
    )
    doctor.add_argument(
        "--timeout", type=float, default=60.0, help="seconds without a response before a call fails"
    )
    doctor.add_argument("--strict", action="store_true", help="treat `warn` as `fail`")
    return parser


if __name__ == "__main__":
    # The results already contain the warnings that the package would log.
    logging.getLogger("langchain_bailian_app").setLevel("ERROR")
    sys.exit(main())
