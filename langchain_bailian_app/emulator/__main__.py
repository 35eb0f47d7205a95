"""Command line of the emulator: `python -m langchain_bailian_app.emulator`.

Prints the settings that a client needs, then logs one line per request until Ctrl-C.
"""

import argparse
import logging
import sys
import threading
from collections.abc import Sequence

from langchain_bailian_app.emulator.server import BailianEmulator

_BANNER = """\
Bailian emulator (百炼应用本地模拟器). It implements the wire protocol of Bailian
applications on this machine. It contains no model and answers from its sample documents.

base_url  {base_url}
api_key   {api_key}
apps
{apps}

export DASHSCOPE_BASE_URL={base_url}
export DASHSCOPE_HTTP_BASE_URL={base_url}  # for dashscope 1.x
export DASHSCOPE_API_KEY={api_key}
export BAILIAN_APP_ID={app_id}

# For session files and memories:
export BAILIAN_OPENAPI_ENDPOINT={openapi_endpoint}
export ALIBABA_CLOUD_ACCESS_KEY_ID={access_key_id}
export ALIBABA_CLOUD_ACCESS_KEY_SECRET={access_key_secret}
export DASHSCOPE_WORKSPACE=emulator

# Before you use the real service, open a new terminal, or run:
# unset DASHSCOPE_BASE_URL DASHSCOPE_HTTP_BASE_URL BAILIAN_OPENAPI_ENDPOINT DASHSCOPE_WORKSPACE

Press Ctrl-C to stop.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the emulator until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m langchain_bailian_app.emulator",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Run a local emulator of Bailian applications. It contains no model.",
    )
    parser.add_argument(
        "--port", type=int, default=8765, help="port on the loopback interface; 0 selects a free port"
    )
    parser.add_argument("--pace", type=float, default=0.03, help="seconds to wait before each frame")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    emulator = BailianEmulator(port=options.port, pace=options.pace, log_level="info")
    try:
        emulator.start()
    except (OSError, OverflowError) as exc:
        parser.exit(1, f"cannot use port {options.port} ({exc}): pass another port or `--port 0`\n")
    with emulator as bailian:
        sys.stdout.write(_format_banner(bailian))
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.stdout.write("\n")


def _format_banner(bailian: BailianEmulator) -> str:
    apps = "\n".join(f"  {a.app_id}  {a.name}: {a.description}" for a in bailian.apps.values())
    return _BANNER.format(
        base_url=bailian.base_url,
        api_key=bailian.api_key,
        app_id=bailian.app_id,
        apps=apps,
        openapi_endpoint=bailian.openapi_endpoint,
        access_key_id=bailian.access_key_id,
        access_key_secret=bailian.access_key_secret,
    )


if __name__ == "__main__":
    main()
