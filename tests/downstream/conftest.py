"""Selection of the tests whose programs are installed; `make downstream` installs all of them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PROGRAMS = {
    "test_ag_ui.py": ["ag-ui-langgraph"],
    "test_autogen.py": ["autogen-ext"],
    "test_langfuse.py": ["langfuse"],
    "test_langgraph_supervisor.py": ["langgraph-supervisor"],
    "test_langgraph_swarm.py": ["langgraph-swarm"],
    "test_opentelemetry.py": [
        "openinference-instrumentation-langchain",
        "opentelemetry-instrumentation-langchain",
    ],
}


def is_installed(program: str) -> bool:
    try:
        version(program)
    except PackageNotFoundError:
        return False
    return True


# Not `importorskip`: it would also skip the tests of a program that has renamed its modules.
collect_ignore = [name for name, programs in PROGRAMS.items() if not all(map(is_installed, programs))]
