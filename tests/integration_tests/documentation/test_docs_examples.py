"""Tests that the Python blocks of the LangChain docs pages and of public docstrings run."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.markdown_examples import extract_python_blocks, run_python_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = sorted(Path(__file__).parents[3].glob("docs/langchain/*/bailian_app.mdx"))
OPTIONAL_MODULES = (".display", ".emulator", ".files", ".llama_index", ".memory", ".rate_limits")
MODULES = (
    "",
    ".errors",
    ".knowledge",
    ".redis_sessions",
    ".runs",
    ".sqlite_sessions",
    *OPTIONAL_MODULES,
)
MODEL_SECTIONS = ("Setup", "Instantiate", "Invoke", "Stream", "Async")
RETRIEVER_SECTIONS = ("Setup", "Instantiate", "Usage")
HELPER_SECTIONS = ("Setup", "Instantiate", "Use")
SECTIONS = {
    "BailianAppChatModel": MODEL_SECTIONS,
    "BailianAppLLM": MODEL_SECTIONS,
    "BailianKnowledgeChatModel": MODEL_SECTIONS,
    "BailianAppTool": ("Setup", "Instantiate", "Invoke", "Use in an agent", "Stream"),
    "BailianRetriever": RETRIEVER_SECTIONS,
    "BailianAppRetriever": RETRIEVER_SECTIONS,
    "AnswerView": HELPER_SECTIONS,
    "BailianFiles": HELPER_SECTIONS,
    "BailianMemory": HELPER_SECTIONS,
    "BailianRun": ("Start and wait", "Find again", "Async"),
    "RedisRateLimiter": HELPER_SECTIONS,
    "RedisSessionStore": HELPER_SECTIONS,
    "InMemorySessionStore": ("Instantiate", "Use"),
    "SqliteSessionStore": ("Instantiate", "Use"),
    "RagOptions": ("Instantiate", "Use"),
    "BizParams": ("Instantiate", "Use"),
}
"""Sections that the docstring of a public class must have, as in LangChain's own packages."""


def docstring_examples() -> Iterator[Any]:
    """Yield each public class or function whose docstring has examples, with the docstring."""
    for module in MODULES:
        imported_module = importlib.import_module(f"langchain_bailian_app{module}")
        for name in imported_module.__all__:
            docstring = inspect.getdoc(getattr(imported_module, name)) or ""
            if not isinstance(getattr(imported_module, name), str) and extract_python_blocks(docstring):
                yield pytest.param(f"langchain_bailian_app{module}", docstring, id=name)


def test_there_is_a_page_of_each_kind() -> None:
    assert [page.parent.name for page in PAGES] == ["chat", "providers", "retrievers", "tools"]


@pytest.mark.usefixtures("connected_environment")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_page_runs(page: Path) -> None:
    text = page.read_text("utf-8")

    assert run_python_blocks(text, str(page)) == text.count("```python") > 0


@pytest.mark.slow
@pytest.mark.usefixtures("connected_environment")
@pytest.mark.parametrize(("module", "docstring"), [*docstring_examples()])
def test_a_docstring_runs(
    module: str, docstring: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    imports = f"```python\nfrom {module} import *\n```\n"

    assert run_python_blocks(imports + docstring, module) == docstring.count("```python") + 1


def test_docstrings_have_examples_where_they_should() -> None:
    names = {example.id for example in docstring_examples()}

    assert names >= {*SECTIONS, "BailianEmulator", "BailianError"}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_docstring_has_the_sections_of_its_kind(name: str) -> None:
    [docstring] = [str(example.values[1]) for example in docstring_examples() if example.id == name]

    headings = re.findall(r"^(\w[\w ]*):$", docstring, re.MULTILINE)
    assert [section for section in headings if section in SECTIONS[name]] == [*SECTIONS[name]]
