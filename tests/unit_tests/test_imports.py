"""Tests of the package structure: its public names, its dependencies, and the layers of imports."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import langchain_bailian_app
from langchain_bailian_app import errors

PACKAGE = Path(langchain_bailian_app.__file__).parent
PACKAGE_NAME = "langchain_bailian_app"

# From the bottom up; a folder or module imports only from the layers below its own.
LAYERS = [
    {"_version", "_answer", "options"},
    {"_settings", "display", "errors"},
    {"_request"},
    {"_transport"},
    {"files", "knowledge", "memory", "rate_limits", "runs", "sessions"},
    {"chat_models", "redis_sessions", "sqlite_sessions"},
    {"retrievers", "tools"},
    {"_doctor", "llama_index"},
    {"__init__", "__main__"},
]
EMULATOR = "emulator"  # separate from the layers: it imports none of them except `_version`
# Modules without I/O and waiting: complete folders, and single modules in other folders.
PURE_FOLDERS = {"_answer", "_request", "_settings", "display", "options"}
PURE_MODULES = {
    "_version",
    "chat_models._fast_copy",
    "chat_models._agent_messages",
    "chat_models._content_blocks",
    "chat_models._json_schema",
    "chat_models._messages",
    "chat_models._output_format",
    "chat_models._results",
    "chat_models._tool_prompt",
    "memory._messages",
    "memory._profile_requests",
    "memory._records",
    "memory._requests",
    "retrievers._documents",
    "retrievers._search_fields",
    "runs._state",
    "sessions._plan",
}
HTTP_CLIENTS = {"aiohttp", "dashscope", "httpx", "urllib3"}
FORBIDDEN_IN_PURE_MODULES = {"asyncio", "socket", "threading", "os", *HTTP_CLIENTS}
PUBLIC_MODULES = [
    "chat_models",
    "display",
    "emulator",
    "errors",
    "files",
    "knowledge",
    "llama_index",
    "memory",
    "options",
    "rate_limits",
    "redis_sessions",
    "retrievers",
    "runs",
    "sessions",
    "sqlite_sessions",
    "tools",
]


def module_name(path: Path) -> str:
    """Return the name of a module within the package, `__init__` for the package itself."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def top_folder(module: str) -> str:
    """Return the top-level folder or module of the package that contains a module."""
    return module.partition(".")[0]


def is_pure(module: str) -> bool:
    return top_folder(module) in PURE_FOLDERS or module in PURE_MODULES


@functools.cache
def read_imports(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the modules of this package that a module imports, and the other top-level packages."""
    own, foreign = set(), set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            foreign |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module.partition(".")[0] != PACKAGE_NAME:
                foreign.add(node.module.partition(".")[0])
                continue
            name = node.module.removeprefix(PACKAGE_NAME).removeprefix(".")
            for alias in node.names:
                submodule = f"{name}.{alias.name}".removeprefix(".")
                own.add(submodule if submodule in MODULES else name)
    return frozenset(own), frozenset(foreign)


def test_the_public_list_is_complete_and_sorted() -> None:
    exported_names = {
        "BailianAppChatModel",
        "BailianAppTool",
        "BailianKnowledgeChatModel",
        "BailianRetriever",
        "BailianSessionWarning",
        "BizParams",
        "InMemorySessionStore",
        "RagOptions",
        "SessionStore",
        "__version__",
        "workflow_file",
    }
    assert langchain_bailian_app.__all__ == sorted(exported_names.union(errors.__all__))
    assert all(hasattr(langchain_bailian_app, name) for name in langchain_bailian_app.__all__)


@pytest.mark.parametrize("module", ["", *PUBLIC_MODULES])
def test_every_public_module_defines_all(module: str) -> None:
    imported_module = importlib.import_module(f"{PACKAGE_NAME}.{module}".rstrip("."))

    assert imported_module.__all__
    assert all(hasattr(imported_module, name) for name in imported_module.__all__)
    assert not [
        name for name in imported_module.__all__ if name.startswith("_") and name != "__version__"
    ]


@pytest.mark.parametrize("module", [name for name in PUBLIC_MODULES if name != "errors"])
def test_public_classes_and_functions_have_the_name_of_their_public_module(module: str) -> None:
    imported_module = importlib.import_module(f"{PACKAGE_NAME}.{module}")
    exports = [getattr(imported_module, name) for name in imported_module.__all__]
    classes_and_functions = [item for item in exports if isinstance(item, type) or callable(item)]

    assert classes_and_functions
    assert {item.__module__ for item in classes_and_functions} <= {
        f"{PACKAGE_NAME}.{module}",
        "collections.abc",
        "typing",  # aliases of types
    }


@pytest.mark.parametrize("module", [name for name in PUBLIC_MODULES if name != "errors"])
def test_annotations_of_public_classes_can_be_resolved(module: str) -> None:
    # `__module__` of these classes is not where they are defined, so string annotations would fail.
    imported_module = importlib.import_module(f"{PACKAGE_NAME}.{module}")

    for name in imported_module.__all__:
        is_own = name != "BailianMemoryMiddleware"  # LangChain's base class has unresolvable ones
        if isinstance(item := getattr(imported_module, name), type) and is_own:
            assert typing.get_type_hints(item) is not None


def test_every_top_level_entry_belongs_to_a_layer() -> None:
    assert {top_folder(module) for module in MODULES} == set().union(*LAYERS) | {EMULATOR}
    top_level_modules = {path.stem for path in PACKAGE.glob("_*.py")}
    assert top_level_modules == {"__init__", "__main__", "_version"}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if top_folder(name) != EMULATOR))
def test_imports_point_to_lower_layers(module: str) -> None:
    layer_index = next(number for number, layer in enumerate(LAYERS) if top_folder(module) in layer)
    lower_layers = {top_folder(module)}.union(*LAYERS[:layer_index])
    # `python -m langchain_bailian_app doctor --emulator` starts an emulator.
    allowed = lower_layers | ({EMULATOR} if module == "__main__" else set())

    assert {top_folder(name) for name in read_imports(module)[0]} <= allowed


def test_no_two_modules_import_each_other() -> None:
    graph = {module: read_imports(module)[0] - {module} for module in MODULES}

    assert tuple(graphlib.TopologicalSorter(graph).static_order())  # raises `CycleError`


@pytest.mark.parametrize("module", sorted(filter(is_pure, MODULES)))
def test_pure_modules_import_pure_modules_only(module: str) -> None:
    own, foreign = read_imports(module)

    assert not [name for name in own if not is_pure(name)]
    assert not foreign & FORBIDDEN_IN_PURE_MODULES


def test_only_the_transport_and_the_errors_import_http_clients() -> None:
    importing_modules = {
        module
        for module in MODULES
        if top_folder(module) != EMULATOR and read_imports(module)[1] & HTTP_CLIENTS
    }

    assert {name for name in importing_modules if top_folder(name) != "_transport"} == {
        "chat_models._token_count",  # dashscope's tokenizer
        "errors",
    }


def test_only_one_module_imports_the_official_openapi_client() -> None:
    official = {"alibabacloud_bailian20231229", "alibabacloud_credentials", "darabonba", "requests"}

    assert {module for module in MODULES if read_imports(module)[1] & official} == {
        "_transport.openapi_client"
    }


def test_the_emulator_is_independent() -> None:
    modules = [module for module in MODULES if top_folder(module) == EMULATOR]

    assert len(modules) > 1
    for module in modules:
        assert {top_folder(name) for name in read_imports(module)[0]} <= {EMULATOR, "_version"}, module


def test_only_the_llama_index_integration_imports_llama_index() -> None:
    importing_modules = {module for module in MODULES if "llama_index" in read_imports(module)[1]}

    assert {top_folder(module) for module in importing_modules} == {"llama_index"}


def test_every_dependency_is_declared() -> None:
    foreign = set().union(*(read_imports(module)[1] for module in MODULES)) - sys.stdlib_module_names

    assert foreign == {
        "aiohttp",
        "alibabacloud_bailian20231229",
        "alibabacloud_credentials",
        "alibabacloud_tea_openapi",
        "darabonba",
        "dashscope",
        "docx",
        "httpx",
        "httpx_aiohttp",
        "langchain",
        "langchain_core",
        "langgraph",
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


@pytest.mark.slow
def test_dashscope_is_imported_at_the_first_call_and_llama_index_never() -> None:
    program = (
        "import sys, langchain_bailian_app as p;"
        "model = p.BailianAppChatModel(app_id='a', api_key='k');"
        "p.BailianRetriever(model=model);"
        "p.BailianAppTool(model=model, name='n', description='d');"
        "assert not {'dashscope', 'llama_index'} & sys.modules.keys();"
        "p.BailianError;"
        "assert 'dashscope' in sys.modules;"
        "assert not hasattr(p, 'error')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
