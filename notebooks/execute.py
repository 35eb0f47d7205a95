"""Execute all notebooks of this folder: `make notebooks`. Fails if a cell does.

Nothing is written but with `--write`, which puts the new outputs into the notebooks.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parent
CELL_TIMEOUT = 120  # seconds


def execute(path: Path, scratch: str) -> nbformat.NotebookNode:
    """Return the notebook with new outputs, and without traces of when and where they were made."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": scratch}},
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> int:
    """Execute every notebook, return how many of them failed."""
    parser = argparse.ArgumentParser(description="Execute the notebooks of this folder.")
    parser.add_argument("--write", action="store_true", help="put the new outputs into them")
    options = parser.parse_args()
    failure_count = 0
    with tempfile.TemporaryDirectory() as scratch:
        # The kernel would leave a profile in the home directory.
        os.environ |= {"IPYTHONDIR": scratch, "JUPYTER_RUNTIME_DIR": scratch}
        # LlamaIndex imports a progress bar, which warns of what it would need here.
        os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
        for path in sorted(FOLDER.glob("*.ipynb")):
            try:
                notebook = execute(path, scratch)
            except CellExecutionError as error:
                print(f"{path.name}: failed\n{error}")
                failure_count += 1
                continue
            if options.write:
                nbformat.write(notebook, path)
            print(f"{path.name}: ok")
    return failure_count


if __name__ == "__main__":
    sys.exit(main())
