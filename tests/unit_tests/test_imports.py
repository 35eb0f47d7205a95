"""The structure of the package: what is public, and that imports point inwards only."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_bailian_app

PACKAGE = Path(langchain_bailian_app.__file__).parent
NAME = "langchain_bailian_app"

PURE = {
    "_answer",
    "_attachments",
    "_application_fields",
    "_base_url",
    "_blocks",
    "_chunks",
    "_citations",
    "_connection_fields",
    "_conversation",
    "_deltas",
    "_display_html",
    "_display_markdown",
    "_display_parts",
    "_display_sources",
    "_documents",
    "_frames",
    "_lenient_json",
    "_json_check",
    "_json_text",
    "_local_blocks",
    "_messages",
    "_node_text",
    "_nodes",
    "_one_text",
    "_openapi_fields",
    "_output_format",
    "_pipelines",
    "_recalled",
    "_request",
    "_retrieval",
    "_search_fields",
    "_session_files",
    "_snapshots",
    "_sse",
    "_signed",
    "_steps",
    "_strings",
    "_text",
    "_tool_calls",
    "_tool_prompt",
    "_tool_turns",
    "_transcript",
    "_two_replies",
    "_upload_steps",
    "_version",
    "options",
}
EDGE = {
    "_openapi",
    "_redis_clients",
    "_refusals",
    "_tokens",
    "_transport",
    "errors",
}
FRONT = {
    "__init__",
    "__main__",
    "_asking",
    "_connected",
    "_dialogue",
    "_doctor",
    "_entry",
    "_exchange",
    "_findings",
    "_fleet",
    "_hooks",
    "_known_files",
    "_progress",
    "_reply",
    "_search",
    "_structured",
    "_trip",
    "_uploaded",
    "_uploading",
    "chat_models",
    "display",
    "files",
    "memory",
    "rate_limits",
    "redis_sessions",
    "retrievers",
    "sessions",
    "tools",
}
# A package; its modules are of the edge, too.
TRANSPORT = {f"_transport/{path.stem}" for path in PACKAGE.glob("_transport/*.py")}
LLAMA_INDEX = {path.stem for path in PACKAGE.glob("llama_index/*.py")}
CLIENTS = {"aiohttp", "dashscope", "httpx", "urllib3"}
# What may do no input or output, and know nothing of who does.
OUTSIDE_THE_PURE_RING = {"asyncio", "socket", "threading", "os", *CLIENTS}


@functools.cache
def imported(module: str) -> set[str]:
    """Return what a module imports: whole names for our own modules, top-level names for others."""
    names = set()
    path = PACKAGE / module / "__init__.py" if module == "_transport" else PACKAGE / f"{module}.py"
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == NAME:
            names |= {f"{NAME}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            own = node.module.startswith(NAME)
            names.add(node.module if own else node.module.partition(".")[0])
    return names


def own(names: set[str]) -> set[str]:
    return {name.removeprefix(f"{NAME}.").partition(".")[0] for name in names if name.startswith(NAME)}


def test_the_public_list_is_complete_and_sorted() -> None:
    assert langchain_bailian_app.__all__ == [
        "BailianAppChatModel",
        "BailianAppTool",
        "BailianRetriever",
        "BailianSessionWarning",
        "BizParams",
        "InMemorySessionStore",
        "RagOptions",
        "SessionStore",
        "__version__",
        "workflow_file",
    ]
    assert all(hasattr(langchain_bailian_app, name) for name in langchain_bailian_app.__all__)


@pytest.mark.parametrize(
    "module",
    ["", *sorted(name for name in PURE | EDGE | FRONT if not name.startswith("_")), "emulator"],
)
def test_every_public_module_says_what_is_public(module: str) -> None:
    public = importlib.import_module(f"{NAME}.{module}".rstrip("."))

    assert public.__all__
    assert all(hasattr(public, name) for name in public.__all__)
    assert not [name for name in public.__all__ if name.startswith("_") and name != "__version__"]


def test_every_module_has_its_ring() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {"_transport"}

    assert modules == PURE | EDGE | FRONT


def test_the_pure_ring_imports_itself_only() -> None:
    for module in PURE:
        assert own(imported(module)) <= PURE, module
        assert not imported(module) & OUTSIDE_THE_PURE_RING, module


def test_the_edge_imports_no_front() -> None:
    for module in EDGE | TRANSPORT:
        assert own(imported(module)) <= PURE | EDGE, module


def test_only_the_transport_and_the_errors_know_dashscope_and_httpx() -> None:
    assert imported("_tokens") & CLIENTS == {"dashscope"}  # its tokenizer
    for module in (PURE | EDGE | FRONT) - {"_transport", "_tokens", "errors"}:
        assert not imported(module) & CLIENTS, module


def test_only_one_module_knows_the_official_client_of_the_openapi() -> None:
    known = {"alibabacloud_bailian20231229", "alibabacloud_credentials", "darabonba", "requests"}
    for module in (PURE | EDGE | FRONT | TRANSPORT) - {"_openapi"}:
        assert not imported(module) & known, module


def test_the_emulator_is_independent_and_imported_by_the_command_line_only() -> None:
    for path in (PACKAGE / "emulator").glob("*.py"):
        assert own(imported(f"emulator/{path.stem}")) <= {"emulator", "_version"}, path
    # The option `--emulator` of the command starts one.
    for module in (PURE | EDGE | FRONT | TRANSPORT) - {"__main__"}:
        assert "emulator" not in own(imported(module)), module


def test_only_what_is_for_llama_index_knows_it_and_is_imported_by_nobody() -> None:
    for module in PURE | EDGE | FRONT | TRANSPORT:
        assert "llama_index" not in own(imported(module)) | imported(module), module
    for module in LLAMA_INDEX:
        assert not imported(f"llama_index/{module}") & CLIENTS, module


def test_every_dependency_is_declared() -> None:
    modules = [*(PURE | EDGE | FRONT | TRANSPORT), *(f"llama_index/{module}" for module in LLAMA_INDEX)]
    modules += [f"emulator/{path.stem}" for path in PACKAGE.glob("emulator/*.py")]
    used = set().union(*(imported(module) for module in modules))
    foreign = {name for name in used if not name.startswith(NAME)} - sys.stdlib_module_names

    assert foreign == {
        "aiohttp",
        "alibabacloud_bailian20231229",
        "alibabacloud_credentials",
        "alibabacloud_tea_openapi",
        "bm25s",
        "darabonba",
        "dashscope",
        "docx",
        "httpx",
        "httpx_aiohttp",
        "langchain_core",
        "limits",
        "llama_index",
        "markdown_it",
        "orjson",
        "pydantic",
        "pypdf",
        "redis",
        "requests",
        "rich",
        "starlette",
        "tqdm",
        "urllib3",
        "uvicorn",
    }


def test_dashscope_is_imported_at_the_first_call_and_llama_index_never() -> None:
    program = (
        "import sys, langchain_bailian_app as p;"
        "model = p.BailianAppChatModel(app_id='a', api_key='k');"
        "p.BailianRetriever(model=model);"
        "p.BailianAppTool(model=model, name='n', description='d');"
        "assert not {'dashscope', 'llama_index'} & sys.modules.keys();"
        "p.errors.BailianError;"
        "assert 'dashscope' in sys.modules;"
        "assert not hasattr(p, 'error')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
