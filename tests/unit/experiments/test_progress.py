"""What an experiment says of its progress: in a narrow terminal, in a log file, after a cell."""

import io
import sys
from types import SimpleNamespace

import pytest

from mvcn.config import RunConfig
from mvcn.experiments.grid import Cell
from mvcn.experiments.progress import EpochFile, Progress, StatusLine, duration

CELLS = [
    Cell(variant, "mine", seed, None, RunConfig())
    for seed in (0, 1)
    for variant in ("slow", "fast")
]
SLOW, FAST, SLOW_1, FAST_1 = (cell.path for cell in CELLS)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def progress(jobs=1):
    return Progress("study", CELLS, jobs, StatusLine())


def test_a_cell_is_expected_to_take_as_long_as_those_of_its_variant(monkeypatch):
    one = progress()
    assert one.seconds_left() is None
    one.finish(CELLS[0], 300.0)
    assert one.seconds_left() == 3 * 300
    one.finish(CELLS[1], 100.0)
    assert one.seconds_left() == 300 + 100
    now = [50.0]
    monkeypatch.setattr("mvcn.experiments.progress.time.monotonic", lambda: now[0])
    one.show({SLOW_1: "epoch 1 of 2"})
    now[0] += 120
    assert one.seconds_left() == 300 - 120 + 100
    now[0] += 1000  # longer than expected: it may end at any time
    assert one.seconds_left() == 100


def test_cells_in_parallel_share_the_time():
    one = progress(jobs=2)
    one.finish(CELLS[0], 300.0)
    assert one.seconds_left() == 3 * 300 / 2


def test_the_hours_are_said_after_the_first_cell(capsys):
    progress().finish(CELLS[0], 7200.0)
    assert capsys.readouterr().err.splitlines() == [
        "study: 1 of 4 cells finished; mine/slow/seed-0 took 2.0 h.",
        "study: the 3 other cells take about 6.0 h.",
    ]


def test_the_hours_are_said_at_once_when_some_cells_are_finished(capsys):
    progress().resume({SLOW: 60.0, FAST: 20.0, SLOW_1: 60.0})
    assert capsys.readouterr().err == "study: the 1 other cell takes about 20 s.\n"


def test_nothing_is_said_of_an_experiment_that_is_finished(capsys):
    progress().resume(dict.fromkeys((SLOW, FAST, SLOW_1, FAST_1), 60.0))
    assert capsys.readouterr().err == ""


def test_a_narrow_terminal_gets_one_short_line_with_the_most_important_first(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    one = progress()
    one.show({SLOW: "epoch 2 of 6"})
    one.seconds[FAST] = 600.0
    one.show({SLOW: "epoch 2 of 6", SLOW_1: "epoch 1 of 6"})
    shown = [line.removesuffix("\x1b[K") for line in stream.getvalue().split("\r")[1:]]
    assert shown[0] == "0 of 4 cells: mine/slow/seed-0 epoch 2 of 6"[:39]
    assert shown[1].startswith("1 of 4 cells, 30 min left: mine/slow/")
    assert max(map(len, shown)) < 40


def test_a_log_file_gets_a_line_a_minute_and_no_control_characters(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr("mvcn.experiments.progress.time.monotonic", lambda: now[0])
    line = StatusLine()
    for step in range(180):
        now[0] += 1
        line.show(f"step {step}")
    line.close()
    assert capsys.readouterr().err == "step 0\nstep 60\nstep 120\n"


def test_a_closed_terminal_does_not_stop_the_work(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError("gone")

    monkeypatch.setattr(sys, "stderr", Closed())
    StatusLine().say("A sentence.")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7199.0, "120 min"), (7200.0, "2.0 h")],
)
def test_a_duration_has_one_unit(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("inside", "words"),
    [("", "epoch 2 of 6"), ("members/member-3", "member 3, epoch 2 of 6")],
)
def test_the_epoch_of_a_training_is_in_a_file(inside, words, tmp_path):
    args = SimpleNamespace(
        output_dir=str(tmp_path / "run" / inside / "checkpoints"), num_train_epochs=6.0
    )
    path = tmp_path / "run.epoch"
    EpochFile(path, tmp_path / "run").on_epoch_begin(args, SimpleNamespace(epoch=1.0), None)
    assert path.read_text() == words
