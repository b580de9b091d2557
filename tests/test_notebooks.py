"""The notebooks run from top to bottom, and what is committed is what a run gives."""

from __future__ import annotations

import json

import nbformat
import pytest

from tests import notebook_run

PATHS = notebook_run.paths()
LARGEST, LARGEST_OF = 900_000, {"04_maize_yield": 700_000}  # bytes


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    return [sorted(output.get("data", {})) or [output.output_type] for output in cell.outputs]


def test_there_are_notebooks():
    names = [
        "01_first_embeddings",
        "02_compare_models",
        "03_region_to_map",
        "04_maize_yield",
        "05_label_search_map_change",
    ]
    assert [found.stem for found in PATHS] == names


def test_outputs_are_committed_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST_OF.get(path.stem, LARGEST)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    pictures = [data for cell in code_cells(notebook) for data in kinds(cell) if "image/png" in data]
    tables = [data for cell in code_cells(notebook) for data in kinds(cell) if "text/html" in data]
    assert len(pictures) >= 3
    assert len(tables) >= 2


def test_outputs_hold_no_trace_of_a_machine(path):
    notebook = nbformat.read(path, as_version=4)
    outputs = json.dumps([cell.outputs for cell in code_cells(notebook)])
    for trace in ("Traceback", "Warning", "/home/", "/Users/", "tcp://", "site-packages"):
        assert trace not in outputs


@pytest.mark.timeout(900)
def test_it_runs_and_gives_outputs_of_the_same_kinds(path, tmp_path):
    before = code_cells(nbformat.read(path, as_version=4))
    after = code_cells(notebook_run.executed(path, tmp_path))
    for old, new in zip(before, after, strict=True):
        assert not [output for output in new.outputs if output.output_type == "error"]
        assert not [output for output in new.outputs if output.get("name") == "stderr"], new.outputs
        assert kinds(new) == kinds(old), f"run `make notebooks`; differs after:\n{new.source}"
