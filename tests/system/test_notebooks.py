"""The tutorials run from their first to their last cell."""

import json
import os
import warnings
from pathlib import Path

import pytest

from tests.processes import run_copy

NOTEBOOKS = sorted(Path("docs/notebooks").glob("*.ipynb"))


def code_of(notebook):
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_there_are_three_and_none_keeps_its_output():
    assert [path.stem for path in NOTEBOOKS] == ["images", "tables", "text"]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        assert [cell for cell in cells if cell.get("outputs")] == []


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_without_a_warning(notebook, tmp_path):
    assert run_copy(run_strictly, code_of(notebook), tmp_path) == 0


def run_strictly(code, folder):
    os.chdir(folder)
    warnings.simplefilter("error")
    exec(compile(code, "notebook", "exec"), {"__name__": "__main__"})
