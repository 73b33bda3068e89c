"""The demo in small: what it leaves, what it says, and what it refuses to delete."""

import base64
import json
import re
import shutil
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mvcn.cli import main
from mvcn.config import read_recipe
from mvcn.data.table import read_table
from mvcn.errors import RunError
from mvcn.evaluation.metrics import evaluate_predictions
from mvcn.experiments.demo import DemoPlan, create_demo_folder, run_demo
from mvcn.explain.run import TrainedRun
from mvcn.inference.classifier import Classifier
from mvcn.report.run_page import write_report

POSTS, GROUPS = 24, ("all", "image_decides", "text_decides", "untrained")
SHOWN = ["all", "image decides", "text decides", "all, untrained"]


@pytest.fixture(scope="session")
def plan(tiny_settings):
    settings = {
        "model": {**tiny_settings, "frozen_text_layers": 1},
        "objective": {"queue_size": 20},
        "training": {"epochs": 1, "batch_size": 8},
    }
    return DemoPlan(train_posts=32, dev_posts=POSTS, seed=5, settings=settings)


@pytest.fixture(scope="session")
def demo(tmp_path_factory, plan):
    """Folder of a finished demo, what it returned, and the lines of its progress."""
    folder, lines = tmp_path_factory.mktemp("demo") / "out", []
    return folder, run_demo(folder, plan, tell=lines.append), lines


def test_leaves_posts_runs_figure_and_report(demo):
    folder, _, lines = demo
    assert {path.name for path in folder.iterdir()} == {
        *("posts", "sparsemax", "softmax", "demo.json"),
        *("attention.png", "report.json", "report.html"),
    }
    assert len(list((folder / "posts/dev/images").glob("*.png"))) == POSTS
    assert any("sparsemax" in line for line in lines)
    assert any("softmax" in line for line in lines)


def test_the_figure_is_not_blank(demo):
    folder, _, _ = demo
    with Image.open(folder / "attention.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 400
    assert pixels.std() > 20
    assert (pixels == (0, 87, 217)).all(-1).any(), "no outline of a patch"


def test_the_report_says_what_the_json_says(demo):
    folder, numbers, _ = demo
    assert json.loads((folder / "report.json").read_text("utf-8")) == json.loads(
        json.dumps(numbers)
    )
    page = (folder / "report.html").read_text("utf-8")
    cell = r"</th><td class=\"number\">([^<]+)"
    for name, model in numbers["models"].items():
        masses = re.findall(rf">{name}{cell}</td><td[^>]+>(\d+)</td><td[^>]+>([\d.]+) %<", page)
        expected = [model["attention"][group] for group in GROUPS]
        assert [found[0] for found in masses] == SHOWN
        assert [found[1:] for found in masses] == [
            (str(a["posts"]), f"{100 * a['mass']['mean']:.1f}") for a in expected
        ]
        shown = r"(?:text and image|without images)"
        scores = re.findall(rf">{name}</th><td[^>]+>{shown}</td><td[^>]+>([\d.]+)<", page)
        splits = (model["dev"], model["dev_without_images"])
        assert scores == [f"{100 * split['accuracy']:.1f}" for split in splits]
    assert "(seed 5)" in page


def test_the_report_needs_no_other_file_and_links_to_the_numbers(demo):
    folder, _, _ = demo
    page = (folder / "report.html").read_text("utf-8")
    assert re.findall(r"""(?:src|href)="(?!data:|#)([^"]+)""", page) == ["report.json"]
    (shown,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="Attention of', page)
    with (
        Image.open(BytesIO(base64.b64decode(shown))) as picture,
        Image.open(folder / "attention.png") as figure,
    ):
        difference = np.subtract(picture, figure.convert("RGB"), dtype=float)
    assert abs(difference).mean() < 4


def test_everyone_can_read_the_report(demo, readable):
    readable(demo[0] / "report.html")


def test_the_parts_make_the_whole(demo):
    _, numbers, _ = demo
    for model in numbers["models"].values():
        whole, *parts = (model["attention"][group] for group in GROUPS[:3])
        assert whole["posts"] == sum(part["posts"] for part in parts) == POSTS
        total = sum(part["posts"] * part["mass"]["mean"] for part in parts)
        assert whole["mass"]["mean"] == pytest.approx(total / POSTS, abs=1e-12)
    means = [model["attention"]["all"]["mass"]["mean"] for model in numbers["models"].values()]
    difference = numbers["mass_sparsemax_minus_softmax"]["mean"]
    assert difference == pytest.approx(means[0] - means[1], abs=1e-12)


def test_the_two_runs_differ_in_the_attention_alone(demo):
    folder, numbers, _ = demo
    one, other = (read_recipe(str(folder / name / "config.yaml")) for name in numbers["models"])
    assert (one.model.attention, other.model.attention) == ("sparsemax", "softmax")
    other.model.attention = "sparsemax"
    assert one == other
    assert numbers["models"]["softmax"]["attention"]["all"]["zeros"] == 0


def test_chance_is_the_area_of_the_patch_without_the_class_token(demo):
    _, numbers, _ = demo
    # The tiny ViT has 16 patches, of which the face takes 4/49, and one class token.
    assert numbers["chance"]["mass"] == pytest.approx(4 / 49 * 16 / 17)
    # Text and post agree in all pairs of labels but neutral + positive and neutral + negative.
    assert numbers["chance"]["accuracy_from_text_alone"] == pytest.approx(1 - 0.11 - 0.11)


def test_its_runs_predict_like_any_other(demo):
    folder, numbers, _ = demo
    posts = read_table(folder / "posts/dev/posts.csv").posts
    classifier = Classifier.from_pretrained(folder / "softmax")
    rows = np.array([list(p.probabilities.values()) for p in classifier.predict(posts)])
    labels = np.array([classifier.class_names.index(post.label) for post in posts])
    evaluated = evaluate_predictions(rows, labels, classifier.class_names)
    assert evaluated.accuracy == numbers["models"]["softmax"]["dev"]["accuracy"]


def test_refuses_another_demo_unless_told_to_replace_it(demo, plan):
    folder, before, _ = demo
    with pytest.raises(RunError, match=r"holds another demo.*--overwrite\.$"):
        run_demo(folder, plan)
    mine = folder / "predictions.csv"
    mine.write_text("mine", "utf-8")
    after = run_demo(folder, plan, overwrite=True)
    assert mine.read_text("utf-8") == "mine"
    mine.unlink()
    assert _without_times(after) == _without_times(before)


def test_never_touches_a_folder_that_is_no_demo(tmp_path, plan):
    (tmp_path / "report.html").write_text("mine", "utf-8")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="holds other files"):
            run_demo(tmp_path, plan, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_command_says_where_the_report_is_and_how_to_go_on(demo, monkeypatch, capsys, tmp_path):
    _, numbers, _ = demo
    given = {}

    def instead(output, plan, *, overwrite, tell):
        given.update(output=output, seed=plan.seed, overwrite=overwrite)
        tell("Training.")
        return numbers

    monkeypatch.setattr("mvcn.experiments.demo.run_demo", instead)
    monkeypatch.setattr("mvcn.cli.process.warnings.filterwarnings", lambda *_: None)
    arguments = ["mvcn", "demo", "--output", str(tmp_path / "a b"), "--seed", "7", "--overwrite"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert given == {"output": tmp_path / "a b", "seed": 7, "overwrite": True}
    shown = capsys.readouterr().out
    assert str(tmp_path / "a b" / "report.html") in shown
    assert f"mvcn predict '{tmp_path}/a b/sparsemax' --text" in shown
    assert "post-00032.png" in shown


def test_a_report_can_be_written_again_from_the_json(demo, tmp_path):
    folder, _, _ = demo
    numbers = json.loads((folder / "report.json").read_text("utf-8"))
    again, figure = tmp_path / "again.html", (folder / "attention.png").read_bytes()
    write_report(TrainedRun(folder / "sparsemax"), again, numbers, figure)
    assert again.read_text("utf-8") == (folder / "report.html").read_text("utf-8")


def test_an_earlier_version_s_report_goes_with_its_demo(demo, plan, tmp_path):
    folder, _, _ = demo
    old = shutil.copytree(folder, tmp_path / "old")
    (old / "report.md").write_text("of an earlier version", "utf-8")
    create_demo_folder(old, plan, overwrite=True)
    assert [path.name for path in old.iterdir()] == ["demo.json"]


def _without_times(numbers):
    """Return the numbers less what a clock has measured."""
    text = json.dumps({k: v for k, v in numbers.items() if k not in ("seconds", "environment")})
    content = json.loads(text)
    for model in content["models"].values():
        del model["seconds"]
    return content
