"""Tests of the messages about packages that are not installed.

Each runs in a process in which one package cannot be imported. The message must name the package as
pip knows it, and an extra that installs it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
try:
{code}
except ImportError as error:
    print(error)
"""
VIEW = """
    from langchain_core.messages import AIMessage
    from langchain_bailian_app.display import AnswerView
    view = AnswerView(AIMessage("好"))
"""
RICH = "    list(view.__rich_console__(None, None))"
MEMORY = """
    from langchain_bailian_app.memory import BailianMemory
    BailianMemory(
        workspace_id="ws", access_key_id="id", access_key_secret="secret", endpoint="127.0.0.1:9"
    ).delete("m-1")
"""
FILES = """
    import pathlib, tempfile
    from langchain_bailian_app.files import BailianFiles
    path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
    path.write_text("好")
    BailianFiles(
        api_key="sk-test", workspace="ws", base_url="http://127.0.0.1:9/api/v1", progress=True
    ).upload([path])
"""
DOCUMENTS = """
    import pathlib, tempfile
    from langchain_bailian_app.emulator import KnowledgeBase
    pathlib.Path(folder := tempfile.mkdtemp(), "a.{suffix}").write_bytes(b"x")
    KnowledgeBase.from_folder(folder)
"""


@pytest.mark.parametrize(
    ("module", "code", "package", "extra"),
    [
        ("starlette", "    import langchain_bailian_app.emulator", "starlette", "emulator"),
        ("uvicorn", "    import langchain_bailian_app.emulator", "uvicorn", "emulator"),
        ("rich", VIEW + RICH, "rich", "display"),
        ("redis", "    import langchain_bailian_app.redis_sessions", "redis", "redis"),
        ("redis", "    import langchain_bailian_app.rate_limits", "redis", "redis"),
        ("limits", "    import langchain_bailian_app.rate_limits", "limits", "redis"),
        (
            "llama_index",
            "    import langchain_bailian_app.llama_index",
            "llama-index-core",
            "llama-index",
        ),
        ("alibabacloud_bailian20231229", MEMORY, "alibabacloud-bailian20231229", "openapi"),
        (
            "langchain",
            "    from langchain_bailian_app.memory import BailianMemoryMiddleware",
            "langchain",
            "langchain",
        ),
        ("tqdm", FILES, "tqdm", None),
        ("pypdf", DOCUMENTS.format(suffix="pdf"), "pypdf", "documents"),
        ("docx", DOCUMENTS.format(suffix="docx"), "python-docx", "documents"),
    ],
)
def test_the_message_names_the_package_and_an_extra_that_installs_it(
    module: str, code: str, package: str, extra: str | None
) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", BLOCK.format(module=module, code=code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert result.returncode == 0, result.stderr
    requirement = package if extra is None else f"'langchain-bailian-app[{extra}]'"
    assert result.stdout.startswith(f"missing package {package}, required ")
    assert result.stdout.strip().endswith(f": pip install {requirement}")
    if extra is not None:
        assert package in {re.split(r"[><=\[]", line)[0] for line in EXTRAS[extra]}
