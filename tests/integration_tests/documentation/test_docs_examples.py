"""Every Python block of the pages for LangChain's docs, and of public docstrings, runs."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.markdown_examples import python_blocks, run

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = sorted(Path(__file__).parents[3].glob("docs/langchain/*/bailian_app.mdx"))
OPTIONAL = (".display", ".emulator", ".files", ".llama_index", ".memory", ".rate_limits")
MODULES = ("", ".errors", ".redis_sessions", *OPTIONAL)
MODEL = ("Setup", "Instantiate", "Invoke", "Stream", "Async")
SEARCH = ("Setup", "Instantiate", "Usage")
THING = ("Setup", "Instantiate", "Use")
SECTIONS = {
    "BailianAppChatModel": MODEL,
    "BailianAppLLM": MODEL,
    "BailianAppTool": ("Setup", "Instantiate", "Invoke", "Use in an agent", "Stream"),
    "BailianRetriever": SEARCH,
    "BailianAppRetriever": SEARCH,
    "AnswerView": THING,
    "BailianFiles": THING,
    "BailianMemory": THING,
    "RedisRateLimiter": THING,
    "RedisSessionStore": THING,
    "InMemorySessionStore": ("Instantiate", "Use"),
    "RagOptions": ("Instantiate", "Use"),
    "BizParams": ("Instantiate", "Use"),
}
"""What the docstring of a public class has, where LangChain's own packages have it."""


def examples() -> Iterator[Any]:
    """Yield each public class or function whose docstring has examples, with the docstring."""
    for module in MODULES:
        public = importlib.import_module(f"langchain_bailian_app{module}")
        for name in public.__all__:
            documented = inspect.getdoc(getattr(public, name)) or ""
            if not isinstance(getattr(public, name), str) and python_blocks(documented):
                yield pytest.param(f"langchain_bailian_app{module}", documented, id=name)


def test_there_is_a_page_of_each_kind() -> None:
    assert [page.parent.name for page in PAGES] == ["chat", "providers", "retrievers", "tools"]


@pytest.mark.usefixtures("connected_environment")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_page_runs(page: Path) -> None:
    text = page.read_text("utf-8")

    assert run(text, str(page)) == text.count("```python") > 0


@pytest.mark.usefixtures("connected_environment")
@pytest.mark.parametrize(("module", "documented"), [*examples()])
def test_a_docstring_runs(
    module: str, documented: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    imports = f"```python\nfrom {module} import *\n```\n"

    assert run(imports + documented, module) == documented.count("```python") + 1


def test_the_docstrings_that_should_have_examples_have_some() -> None:
    named = {example.id for example in examples()}

    assert named >= {*SECTIONS, "BailianEmulator", "BailianError"}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_class_is_shown_in_the_sections_that_apply_to_it(name: str) -> None:
    [documented] = [str(example.values[1]) for example in examples() if example.id == name]

    found = re.findall(r"^(\w[\w ]*):$", documented, re.MULTILINE)
    assert [section for section in found if section in SECTIONS[name]] == [*SECTIONS[name]]
