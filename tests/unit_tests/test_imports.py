"""The structure of the package: what is public, and that imports point inwards only."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_bailian_app
from langchain_bailian_app import errors

PACKAGE = Path(langchain_bailian_app.__file__).parent
NAME = "langchain_bailian_app"

# From the ground up; a folder or module imports only what stands in the layers below its own.
LAYERS = [
    {"_version", "_answer", "options"},
    {"_settings", "display", "errors"},
    {"_request"},
    {"_transport"},
    {"files", "memory", "rate_limits", "sessions"},
    {"chat_models", "redis_sessions"},
    {"retrievers", "tools"},
    {"_doctor", "llama_index"},
    {"__init__", "__main__"},
]
EMULATOR = "emulator"  # beside the layers: it imports nothing of them
# No input or output, no waiting: whole folders, and modules in folders that also have others.
PURE_FOLDERS = {"_answer", "_request", "_settings", "display", "options"}
PURE_MODULES = {
    "_version",
    "chat_models._chunks",
    "chat_models._content_blocks",
    "chat_models._json_schema",
    "chat_models._messages",
    "chat_models._output_format",
    "chat_models._tool_prompt",
    "files._actions",
    "retrievers._documents",
    "retrievers._fields",
    "sessions._checkpoint",
}
CLIENTS = {"aiohttp", "dashscope", "httpx", "urllib3"}
OUTSIDE_THE_PURE_MODULES = {"asyncio", "socket", "threading", "os", *CLIENTS}
PUBLIC = [
    "chat_models",
    "display",
    "emulator",
    "errors",
    "files",
    "llama_index",
    "memory",
    "options",
    "rate_limits",
    "redis_sessions",
    "retrievers",
    "sessions",
    "tools",
]


def module_name(path: Path) -> str:
    """Return the name of a module within the package, `__init__` for the package itself."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def folder(module: str) -> str:
    """Return the entry at the top of the package that holds a module."""
    return module.partition(".")[0]


def is_pure(module: str) -> bool:
    return folder(module) in PURE_FOLDERS or module in PURE_MODULES


@functools.cache
def imports(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the modules of this package that a module imports, and the top-level names of others."""
    own, foreign = set(), set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            foreign |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module.partition(".")[0] != NAME:
                foreign.add(node.module.partition(".")[0])
                continue
            name = node.module.removeprefix(NAME).removeprefix(".")
            for alias in node.names:
                submodule = f"{name}.{alias.name}".removeprefix(".")
                own.add(submodule if submodule in MODULES else name)
    return frozenset(own), frozenset(foreign)


def test_the_public_list_is_complete_and_sorted() -> None:
    from_modules = {
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
    }
    assert langchain_bailian_app.__all__ == sorted(from_modules.union(errors.__all__))
    assert all(hasattr(langchain_bailian_app, name) for name in langchain_bailian_app.__all__)


@pytest.mark.parametrize("module", ["", *PUBLIC])
def test_every_public_module_says_what_is_public(module: str) -> None:
    public = importlib.import_module(f"{NAME}.{module}".rstrip("."))

    assert public.__all__
    assert all(hasattr(public, name) for name in public.__all__)
    assert not [name for name in public.__all__ if name.startswith("_") and name != "__version__"]


@pytest.mark.parametrize("module", [name for name in PUBLIC if name != "errors"])
def test_public_classes_and_functions_bear_the_name_of_their_public_module(module: str) -> None:
    public = importlib.import_module(f"{NAME}.{module}")
    defined = [getattr(public, name) for name in public.__all__]
    named = [item for item in defined if isinstance(item, type) or callable(item)]

    assert named
    assert {item.__module__ for item in named} <= {f"{NAME}.{module}", "collections.abc"}


def test_every_entry_of_the_package_has_its_layer() -> None:
    assert {folder(module) for module in MODULES} == set().union(*LAYERS) | {EMULATOR}
    loose = {path.stem for path in PACKAGE.glob("_*.py")}
    assert loose == {"__init__", "__main__", "_version"}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if folder(name) != EMULATOR))
def test_imports_point_to_lower_layers(module: str) -> None:
    height = next(number for number, layer in enumerate(LAYERS) if folder(module) in layer)
    below = {folder(module)}.union(*LAYERS[:height])
    # `python -m langchain_bailian_app doctor --emulator` starts one.
    allowed = below | ({EMULATOR} if module == "__main__" else set())

    assert {folder(name) for name in imports(module)[0]} <= allowed


def test_no_two_modules_import_each_other() -> None:
    graph = {module: imports(module)[0] - {module} for module in MODULES}

    assert tuple(graphlib.TopologicalSorter(graph).static_order())  # raises `CycleError`


@pytest.mark.parametrize("module", sorted(filter(is_pure, MODULES)))
def test_pure_modules_import_pure_modules_only(module: str) -> None:
    own, foreign = imports(module)

    assert not [name for name in own if not is_pure(name)]
    assert not foreign & OUTSIDE_THE_PURE_MODULES


def test_only_the_transport_and_the_errors_know_dashscope_and_httpx() -> None:
    known = {
        module for module in MODULES if folder(module) != EMULATOR and imports(module)[1] & CLIENTS
    }

    assert {name for name in known if folder(name) != "_transport"} == {
        "chat_models._token_count",  # dashscope's tokenizer
        "errors",
    }


def test_only_one_module_knows_the_official_client_of_the_openapi() -> None:
    official = {"alibabacloud_bailian20231229", "alibabacloud_credentials", "darabonba", "requests"}

    assert {module for module in MODULES if imports(module)[1] & official} == {"_transport.openapi"}


def test_the_emulator_is_independent() -> None:
    modules = [module for module in MODULES if folder(module) == EMULATOR]

    assert len(modules) > 1
    for module in modules:
        assert {folder(name) for name in imports(module)[0]} <= {EMULATOR, "_version"}, module


def test_only_what_is_for_llama_index_imports_it() -> None:
    known = {module for module in MODULES if "llama_index" in imports(module)[1]}

    assert {folder(module) for module in known} == {"llama_index"}


def test_every_dependency_is_declared() -> None:
    foreign = set().union(*(imports(module)[1] for module in MODULES)) - sys.stdlib_module_names

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
        "p.BailianError;"
        "assert 'dashscope' in sys.modules;"
        "assert not hasattr(p, 'error')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
