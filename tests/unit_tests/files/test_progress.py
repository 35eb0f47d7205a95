"""Tests of progress bars in terminals and notebooks, with and without ipywidgets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.files._progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

SHOW_PROGRESS = """
from langchain_bailian_app.files._progress import Progress
progress = Progress(["a.md", "b.md"], [3, 4], enabled=None)
for index in (0, 1):
    progress.set_phase(index, "uploading")
    progress.set_bytes_sent(index, 3)
    progress.set_phase(index, "ready")
progress.close()
"""
HIDE_WIDGETS = """
import sys
sys.modules["ipywidgets"] = None
"""


def run_cell(tmp_path: Path, *sources: str) -> list[dict[str, str]]:
    """Run cells in a kernel of their own and return the outputs of the last one."""
    script = textwrap.dedent(
        """
        import json, sys
        import nbformat
        from nbclient import NotebookClient

        sources = json.loads(sys.argv[1])
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
        NotebookClient(notebook, timeout=60, coalesce_streams=True).execute()
        print(json.dumps(notebook.cells[-1].outputs))
        """
    )
    folders = {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps(sources)],
        env=os.environ | folders,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    outputs: list[dict[str, str]] = json.loads(result.stdout)
    return outputs


@pytest.mark.slow
def test_a_notebook_without_widgets_shows_one_bar_as_text(tmp_path: Path) -> None:
    (output,) = run_cell(tmp_path, HIDE_WIDGETS, SHOW_PROGRESS)

    assert (output["output_type"], output["name"]) == ("stream", "stderr")
    assert "files: 100%" in output["text"]
    assert "2 ready" in output["text"]
    assert "a.md" not in output["text"]
    assert "\x1b[A" not in output["text"]
    assert "Warning" not in output["text"]


@pytest.mark.slow
def test_a_notebook_with_widgets_shows_them(tmp_path: Path) -> None:
    outputs = run_cell(tmp_path, SHOW_PROGRESS)

    assert {output["output_type"] for output in outputs} == {"display_data"}
    assert len(outputs) == 3  # for all files, and for each of them


def test_a_program_whose_output_is_no_terminal_shows_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(["a.md"], [3], enabled=None)
    progress.set_phase(0, "ready")
    progress.close()

    assert not capsys.readouterr().err
