"""Every Python block of the pages for LangChain's docs, and of public docstrings, runs."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.blocks import python_blocks, run

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = sorted(Path(__file__).parents[2].glob("docs/langchain/*/bailian_app.mdx"))
MODULES = ("", ".errors", ".display", ".redis_sessions", ".emulator")


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
def test_a_docstring_runs(module: str, documented: str) -> None:
    imports = f"```python\nfrom {module} import *\n```\n"

    assert run(imports + documented, module) == documented.count("```python") + 1


def test_the_docstrings_that_should_have_examples_have_some() -> None:
    named = {example.id for example in examples()}

    assert named >= {
        "BailianAppChatModel",
        "BailianAppTool",
        "BailianEmulator",
        "BailianRetriever",
        "BizParams",
        "RagOptions",
    }
