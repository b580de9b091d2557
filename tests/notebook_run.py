"""Runs notebooks from top to bottom: ``python -m tests.notebook_run --write`` renews their committed outputs."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
TIMEOUT_S = 600


def paths():
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def executed(path, folder):
    """Return the notebook with fresh outputs, run with `folder` as its working directory."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    return without(notebook, f"{folder}{os.sep}")


def without(notebook, folder):
    """Take the working directory out of the outputs, so that they are the same everywhere."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            texts = output.get("data", output)
            for kind, text in texts.items():
                if isinstance(text, str):
                    texts[kind] = text.replace(folder, "")
    return notebook


def main():
    for path in paths():
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, folder)
        notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        if "--write" in sys.argv:
            nbformat.write(notebook, path)
        print(f"{path.name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells ran")


if __name__ == "__main__":
    main()
