"""The comparison with other tools: its draws, what they get, and what is made of what they say."""

import json
import random
import sys
import time
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import typer
from sklearn.metrics import accuracy_score, f1_score

from mvcn.data.reading import TrainingPosts
from mvcn.types import Post
from scripts.peers import __main__ as command
from scripts.peers import comparison
from scripts.peers.comparison import TOOLS, UNIMODAL_LABELS, Task, read_draw, rows, tasks
from scripts.peers.installation import installed, size_mb
from scripts.peers.measurement import python_of, run, scores
from scripts.peers.posts import read_table, write_table
from scripts.tables.peers import peers_in_short, peers_table

ANNOTATIONS = ("positive,neutral", "negative,negative", "neutral,neutral")
NAMES = ("positive", "neutral", "negative")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A folder like that of MVSA-Single, whose order of training posts is not that of ids."""
    folder = tmp_path_factory.mktemp("mvsa")
    (folder / "data").mkdir()
    (folder / "splits").mkdir()
    lines = ["ID\ttext,image"]
    for number in range(1, 31):
        lines.append(f"{number}\t{ANNOTATIONS[number % 3]}")
        (folder / "data" / f"{number}.txt").write_text(f'post "{number}",\nof words', "utf-8")
        (folder / "data" / f"{number}.jpg").write_bytes(b"")
    (folder / "labelResultAll.txt").write_text("\n".join(lines), "utf-8")
    (folder / "splits" / "train.txt").write_text("\n".join(map(str, range(24, 0, -1))), "utf-8")
    (folder / "splits" / "dev.txt").write_text("\n".join(map(str, range(25, 31))), "utf-8")
    return folder


@pytest.mark.parametrize("draw", [0, 3])
def test_draws_are_those_of_the_learning_curve(draw, dataset):
    order = [str(number) for number in range(24, 0, -1)]
    posts = read_draw(dataset, Task("SetFit", 10, draw))
    assert [post.id for post in posts.train] == random.Random(1000 * draw + 10).sample(order, 10)
    assert [post.id for post in posts.dev] == [str(number) for number in range(25, 31)]


def test_of_all_posts_only_the_seed_differs(dataset):
    first, second = (read_draw(dataset, Task("SetFit", None, draw)) for draw in (0, 1))
    assert first == second
    assert len(first.train) == 24


def test_slow_tools_have_fewer_draws():
    found = list(tasks(list(TOOLS)))
    assert len(set(found)) == len(found)
    counts = Counter((task.tool, task.limit) for task in found)
    assert counts["linear script", 300] == counts["linear script", None] == 5
    assert {counts[name, 300] for name in ("Trainer", "mvcn default")} == {5}
    assert {counts[name, None] for name in ("Trainer", "mvcn default")} == {3}
    slow = ("SetFit", "AutoGluon", "mvcn best")
    assert {(counts[name, 300], counts[name, None]) for name in slow} == {(3, 1)}
    draws = [task.draw for task in found]
    assert draws == sorted(draws)


def test_a_trial_is_one_small_draw_of_each_tool():
    assert list(tasks(["SetFit", "AutoGluon"], quick=True)) == [
        Task("SetFit", 60, 0),
        Task("AutoGluon", 60, 0),
    ]


def test_each_tool_has_a_file():
    folder = Path(comparison.__file__).parent / "tools"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == {
        tool.file for tool in TOOLS.values()
    }
    assert python_of("mvcn best", Path("other")) == Path(sys.executable)
    assert python_of("SetFit", Path("other")) == Path("other")


def test_tables_hold_the_posts_and_only_the_labels_that_are_given(dataset, tmp_path):
    posts = read_draw(dataset, Task("SetFit", None, 0))
    write_table(tmp_path / "dev.csv", rows(posts.dev, ()))
    text = (tmp_path / "dev.csv").read_text("utf-8")
    assert not any(name in text for name in NAMES)
    write_table(tmp_path / "train.csv", rows(posts.train, ("label",)))
    found = read_table(tmp_path / "train.csv")
    assert found.texts == [post.text for post in posts.train]
    assert found.labels == [post.label for post in posts.train]
    assert all(Path(image).is_file() for image in found.images)
    both = rows(posts.train, ("label", *UNIMODAL_LABELS))
    assert [[row[name] for name in UNIMODAL_LABELS] for row in both] == [
        [post.text_label, post.image_label] for post in posts.train
    ]


def test_scores_do_not_depend_on_the_order_of_classes_and_know_unseen_ones():
    labels = ["neutral", "positive", "positive", "neutral", "negative"]
    dev = [Post(str(i), "", None, label) for i, label in enumerate(labels)]
    posts = TrainingPosts([], dev, NAMES)
    sure = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3], [1.0, 0.0]])
    found = scores({"class_names": ["neutral", "positive"], "probabilities": sure}, posts)
    predicted = ["neutral", "positive", "neutral", "neutral", "neutral"]
    assert found["accuracy"] == accuracy_score(labels, predicted)
    expected = f1_score(labels, predicted, average="weighted", zero_division=0)
    assert found["f1_weighted"] == pytest.approx(expected)
    gaps = np.array([0.1, 0.2, -0.6, 0.3, -1.0])  # each post is alone in its bin of confidence
    assert found["expected_calibration_error"] == pytest.approx(abs(gaps).mean())
    turned = {"class_names": ["positive", "neutral"], "probabilities": sure[:, ::-1]}
    assert scores(turned, posts) == found


CHILD = (
    "held = bytearray(200_000_000); t = time.process_time()\nwhile time.process_time() < t + 1: ..."
)
PARENT = (
    f"import subprocess, sys; subprocess.run([sys.executable, '-c', {f'import time; {CHILD}'!r}])"
)


def test_what_children_take_counts(tmp_path):
    started = time.perf_counter()
    usage = run([sys.executable, "-c", PARENT], tmp_path)
    assert 1 <= usage.processor_seconds <= usage.seconds <= time.perf_counter() - started + 0.1
    assert 200 <= usage.peak_memory_mb < 300


def test_a_failed_process_shows_its_last_lines(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)has failed:.*no such tool"):
        run([sys.executable, "-c", "raise SystemExit('no such tool')"], tmp_path)


def test_an_installation_is_all_that_is_required():
    found = installed(["mvcn[train]"])
    assert found["torch"] == version("torch")
    assert found["sympy"] == version("sympy")  # which torch requires
    assert "pytest" not in found
    small = installed(["mvcn"])
    assert small.items() < found.items()
    assert "torch" not in small
    assert size_mb(small) < size_mb(found)
    assert size_mb(["numpy"]) > 10


FOUND = {
    "accuracy": 0.5,
    "f1_weighted": 0.4,
    "expected_calibration_error": 0.1,
    "fit": {"seconds": 12.3, "processor_seconds": 20.0, "peak_memory_mb": 1234},
    "predict": {"posts_per_second": 9.87},
    "model_mb": 3.2,
}
INSTALLATION = {"megabytes": 1200, "packages": {"torch": "2.13.0"}}


@pytest.fixture
def measured(monkeypatch):
    """The tools that were measured, in their order."""
    names = []

    def measure(task, posts, python, work, options):
        names.append(task.tool)
        return {**FOUND, "installation": INSTALLATION}

    monkeypatch.setattr(command, "measure", measure)
    return names


def test_a_killed_comparison_continues(dataset, tmp_path, measured, monkeypatch):
    arguments = {"work": tmp_path, "output": tmp_path / "peers.json"}
    command.main(dataset, tools=["SetFit"], quick=True, **arguments)
    command.main(dataset, tools=["SetFit", "AutoGluon"], quick=True, **arguments)
    assert measured == ["SetFit", "AutoGluon"]
    changed = replace(TOOLS["SetFit"], quick_options={"max_steps": 7})
    monkeypatch.setitem(TOOLS, "SetFit", changed)
    command.main(dataset, tools=["SetFit", "AutoGluon"], quick=True, **arguments)
    assert measured == ["SetFit", "AutoGluon", "SetFit"]
    content = json.loads((tmp_path / "peers.json").read_text("utf-8"))
    assert [one["options"] for one in content["measurements"]] == [
        {"max_steps": 7},
        dict(TOOLS["AutoGluon"].quick_options),
    ]
    assert content["tools"]["SetFit"] == {"reads": "text", **INSTALLATION}
    assert content["environment"]["packages"]["torch"] == version("torch")


def test_a_trial_leaves_the_results_alone(dataset, tmp_path, measured, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command.main(dataset, tools=["SetFit"], quick=True)
    assert Path("runs/peers/quick.json").is_file()
    assert not Path("results").exists()


def test_an_unknown_tool_is_refused(dataset):
    with pytest.raises(typer.BadParameter, match="no tool 'setfit': choose from linear script"):
        command.main(dataset, tools=["setfit"])


def test_a_table_has_a_row_for_each_tool_and_size():
    few, other = ({**FOUND, "tool": "SetFit", "posts": 300, "accuracy": a} for a in (0.5, 0.7))
    many = {**FOUND, "tool": "AutoGluon", "posts": 3611}
    tools = {
        "SetFit": {"reads": "text", "megabytes": 1178},
        "AutoGluon": {"reads": "text, image", "megabytes": 1892},
    }
    content = {"measurements": [many, few, other], "tools": tools}
    lines = peers_table(content).splitlines()
    first = "| SetFit | text | 300 | 2 | 60.0 ± 14.1 | 40.0 ± 0.0 | 10.0 ± 0.0 | 12 | 20 | 1,234 |"
    assert lines[2] == f"{first} 9.9 | 3.2 | 1,178 |"
    assert lines[3].startswith("| AutoGluon | text, image | 3,611 | 1 | 50.0 ± 0.0 |")
    header, _, *short = peers_in_short(content).splitlines()
    assert "300 posts: accuracy / weighted F1, % | 3,611 posts | fit, min |" in header
    assert short[0].startswith("| SetFit | text | 60.0 / 40.0 |  |  |")
    assert short[1].startswith("| AutoGluon | text, image |  | 50.0 / 40.0 | 0.2 |")
