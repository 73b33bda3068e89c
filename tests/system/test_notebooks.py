"""The tutorials run from their first to their last cell."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    script = tmp_path / "notebook.py"
    script.write_text(code_of(notebook), "utf-8")
    command = [sys.executable, "-W", "error", str(script)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
