"""Emulator for the soak, in a separate process, so that its memory is not measured.

As a program, this module prints its address and key as JSON and serves until its standard input is
closed. It forgets its sessions every few seconds, so that clients also meet unknown sessions.
"""

from __future__ import annotations

import json
import sys
import threading

from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, Faults

SLOW, BUSY, FAULTY, STREAM_ERROR = "slow", "busy", "faulty", "stream-error"
RESET_SECONDS = 15.0
# Not `idle-408`: its response may cross with the next request on the connection, which then fails.
_FAULTS = (
    "cut-mid-frame",
    "end-mid-frame",
    "no-finish-reason",
    "finish-length",
    "error-frame",
    "error-frame-with-space",
    "code-in-frame",
    "error-on-200",
    "output-null",
    "garbage-frame",
    "gzip",
    "stall-first",
    "stall-later",
    "reset",
    "html-502",
    "redirect",
    "drip-error-body",
    "endless-heartbeats",
    "duplicate-response",
    "interim-responses",
    "endless-interim-responses",
)


def add_apps(bailian: BailianEmulator, seed: int) -> None:
    """Add a slow application, and applications that fail in different ways."""
    answer = "按日计收滞报金。" * 20
    faults = Faults(dict.fromkeys(_FAULTS, 0.9 / len(_FAULTS)), seed=seed)
    throttling = ErrorReply.of("Throttling.RateQuota", headers={"Retry-After": "0"})
    stream_error = ErrorReply.of("InternalError.Algo")
    stream_error.in_stream_after = 3
    bailian.add_app(App(SLOW, app_id=SLOW, answer=answer, pace=0.01))
    bailian.add_app(App(BUSY, app_id=BUSY, answer=answer, error=throttling))
    bailian.add_app(App(FAULTY, app_id=FAULTY, answer=answer, faults=faults))
    bailian.add_app(App(STREAM_ERROR, app_id=STREAM_ERROR, answer=answer, error=stream_error))


def main() -> None:
    """Print the address and key, and serve until standard input is closed."""
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    with BailianEmulator() as bailian:
        add_apps(bailian, int(sys.argv[1]))
        print(json.dumps({"base_url": bailian.base_url, "api_key": bailian.api_key}), flush=True)
        while not stopped.wait(RESET_SECONDS):
            bailian.reset()


if __name__ == "__main__":
    main()
