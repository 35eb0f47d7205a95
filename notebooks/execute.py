"""Script that executes all notebooks of this folder (`make notebooks`), and fails if a cell fails.

With `--write`, the new outputs are written to the notebooks; otherwise no file is changed.
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
    """Return the notebook with new outputs, without metadata on the time or place of execution."""
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
    """Execute every notebook and return the number of failures."""
    parser = argparse.ArgumentParser(description="Execute the notebooks of this folder.")
    parser.add_argument("--write", action="store_true", help="write the new outputs to the notebooks")
    options = parser.parse_args()
    failure_count = 0
    with tempfile.TemporaryDirectory() as scratch:
        # Otherwise the kernel would create a profile in the home directory.
        os.environ |= {"IPYTHONDIR": scratch, "JUPYTER_RUNTIME_DIR": scratch}
        # LlamaIndex imports a progress bar, which warns about missing widgets in notebooks.
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
