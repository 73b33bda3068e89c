"""The file of a cell holds all that the cell does."""

import dataclasses
import json

import numpy as np
import pytest

from mvcn.config import RunConfig
from mvcn.errors import MvcnError
from mvcn.experiments.grid import settings_of
from mvcn.experiments.results import CellResult, read_cell, read_cells, write_cell

CELL = CellResult(
    experiment="e",
    variant="v",
    data="d",
    seed=2,
    fold=None,
    class_names=("bad", "good"),
    labels=np.array([0, 1, 1]),
    predicted=np.array([1, 1, 0]),
    probabilities=np.array([[0.25, 0.75], [0.0, 1.0], [0.6543, 0.3457]]),
    has_near_duplicate=np.array([True, False, False]),
    posts_digest="abc",
    metrics={"accuracy": 1 / 3},
    settings=settings_of(RunConfig.from_mapping({"training": {"epochs": 2}})),
    seconds={"training": 1.5},
    environment={"python": "3"},
    split="test",
)


def test_reading_gives_what_was_written(tmp_path):
    write_cell(tmp_path / "new" / "cell.json", CELL)
    found = read_cell(tmp_path / "new" / "cell.json")
    for field in dataclasses.fields(CellResult):
        one, other = getattr(CELL, field.name), getattr(found, field.name)
        assert type(one) is type(other), field.name
        assert np.array_equal(one, other), field.name


def test_a_setting_that_came_later_has_its_default(tmp_path):
    """Else each new setting would make all finished cells worthless."""
    write_cell(path := tmp_path / "cell.json", CELL)
    content = json.loads(path.read_text())
    del content["settings"]["training"]["patience"], content["settings"]["objective"]
    path.write_text(json.dumps(content))
    assert read_cell(path).settings == CELL.settings


def test_a_result_of_an_earlier_version_is_certain_of_its_predictions(tmp_path):
    write_cell(path := tmp_path / "cell.json", dataclasses.replace(CELL, processor_seconds=9.0))
    assert read_cell(path).training_seconds == 9.0
    content = json.loads(path.read_text())
    del content["probabilities"], content["processor_seconds"], content["split"]
    path.write_text(json.dumps(content))
    found = read_cell(path)
    assert found.probabilities.tolist() == [[0, 1], [0, 1], [1, 0]]
    assert found.training_seconds == 1.5
    assert found.split == "dev"


def test_a_result_of_an_earlier_version_names_its_variant_by_row(tmp_path):
    write_cell(path := tmp_path / "cell.json", CELL)
    content = json.loads(path.read_text())
    content["row"] = content.pop("variant")
    path.write_text(json.dumps(content))
    assert read_cell(path).variant == "v"


def test_many_posts_take_one_line(tmp_path):
    write_cell(tmp_path / "cell.json", CELL)
    assert '  "labels": "0 1 1",' in (tmp_path / "cell.json").read_text().splitlines()


def test_all_cells_of_a_folder_are_read_in_order(tmp_path):
    for seed in (1, 0):
        write_cell(tmp_path / f"seed-{seed}.json", dataclasses.replace(CELL, seed=seed))
    assert [cell.seed for cell in read_cells(tmp_path)] == [0, 1]


def test_says_what_is_no_result(tmp_path):
    with pytest.raises(MvcnError, match="has no results"):
        read_cells(tmp_path)
    write_cell(path := tmp_path / "cell.json", CELL)
    whole = json.loads(path.read_text())
    shorter = whole | {"predicted": whole["predicted"].rsplit(" ", 1)[0]}
    faulty = ({"labels": "1"}, whole | {"more": 1}, shorter)
    for broken in ("{", "[]", *map(json.dumps, faulty)):
        path.write_text(broken)
        with pytest.raises(
            MvcnError, match=r"cell\.json is not a complete result of mvcn experiment"
        ):
            read_cell(path)
