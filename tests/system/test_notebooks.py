"""The tutorials run from their first to their last cell."""

import json
import os
import re
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.processes import run_copy

NOTEBOOKS = sorted(Path("docs/notebooks").glob("*.ipynb"))


NUMBER = re.compile(r"\d+(\.\d+)?(e-\d+)?")


def code_cells(notebook):
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def code_of(notebook):
    return "\n".join("".join(cell["source"]) for cell in code_cells(notebook))


def saved_output(notebook):
    """Return what the cells have printed when the notebook was saved."""
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data"}
    return "".join("".join(output.get("text", ())) for output in outputs)


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["images", "tables", "text"]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_prints_what_it_was_saved_with_but_for_numbers(notebook, tmp_path):
    assert run_copy(run_strictly, code_of(notebook), tmp_path) == 0
    printed = (tmp_path / "printed.txt").read_text("utf-8")
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", saved_output(notebook))


def run_strictly(code, folder):
    os.chdir(folder)
    warnings.simplefilter("error")
    with Path("printed.txt").open("w", encoding="utf-8") as file, redirect_stdout(file):
        exec(compile(code, "notebook", "exec"), {"__name__": "__main__"})
