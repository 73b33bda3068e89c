"""A run for macro F1: its offsets are saved with the model, and every way to predict has them."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from mvcn.data.synthetic import generate_posts, write_table
from mvcn.errors import RunError
from mvcn.inference.classifier import Classifier
from mvcn.models.network import probabilities
from mvcn.training.run import train
from mvcn.training.run_folder import Run


@pytest.fixture(scope="module")
def unbalanced(tmp_path_factory):
    """Generated posts, most of them of one class."""
    folder, posts = tmp_path_factory.mktemp("unbalanced"), generate_posts(96, seed=3)
    kept = [
        post for n, post in enumerate(posts) if post.post.label == posts[0].post.label or n % 4 == 0
    ]
    for split, some in (("train", kept[::2]), ("dev", kept[1::2])):
        write_table(some, folder / split)
    return folder


@pytest.fixture(scope="module")
def runs(unbalanced, tiny_config, tmp_path_factory):
    """Runs for accuracy and for macro F1, which differ in nothing else."""
    folder, data = tmp_path_factory.mktemp("balance"), {}
    for split in ("train", "dev"):
        data[split] = str(unbalanced / split / "posts.csv")
    return {
        target: train(
            tiny_config(data=data, training={"epochs": 1, "target": target}), folder / target
        )
        for target in ("accuracy", "macro-f1")
    }


def test_only_the_offsets_differ(runs):
    plain, balanced = (Run(run.folder).model for run in runs.values())
    weights = balanced.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in plain.state_dict().items())
    assert plain.config.logit_offsets is None
    assert plain.config.temperature == balanced.config.temperature
    found = [run.metrics["class_balance"] for run in runs.values()]
    assert found[0] == found[1]
    assert balanced.config.logit_offsets == list(found[0]["offsets"])


def test_saved_predictions_and_the_classifier_have_the_same_offsets(runs):
    run = Run(runs["macro-f1"].folder)
    config = json.loads((run.folder / "config.json").read_text())
    config["logit_offsets"] = [0.75, *[0.0] * (len(run.model.class_names) - 2), -0.75]
    plain = Classifier.from_pretrained(runs["accuracy"].folder).predict(run.posts.dev)
    (run.folder / "config.json").write_text(json.dumps(config))
    shifted = Classifier.from_pretrained(run.folder).predict(run.posts.dev)
    for before, after in zip(plain, shifted, strict=True):
        row = np.array(list(before.probabilities.values()))
        expected = row * np.exp(config["logit_offsets"])
        assert list(after.probabilities.values()) == pytest.approx(expected / expected.sum())


def test_offsets_are_added_to_the_divided_logits():
    logits = torch.tensor([[2.0, 0.0]])
    expected = torch.tensor([[2.0 / 4 - 1, 0.0 + 1]]).double().softmax(-1)
    assert torch.allclose(probabilities(logits, 4.0, [-1.0, 1.0]), expected)


def test_the_command_and_the_card_say_both_scores(unbalanced, tiny_options, tmp_path, mvcn):
    code, shown, errors = mvcn(
        "train",
        *("--train", unbalanced / "train/posts.csv", "--dev", unbalanced / "dev/posts.csv"),
        *("--for", "macro-f1", "--output", tmp_path / "run", *tiny_options),
    )
    assert code == 0, errors
    assert "are predicted more often: accuracy" in shown or "would not raise macro F1" in shown
    card = (tmp_path / "run" / "README.md").read_text()
    assert "Classes are predicted for macro F1" in card
    before = Run(tmp_path / "run").metrics["class_balance"]["f1_macro_before"]
    assert f"macro F1 {before:.3f} without" in card


def test_a_run_predicts_for_another_score_without_training(runs, unbalanced, tmp_path, mvcn, fails):
    posts = unbalanced / "dev/posts.csv"

    def predicted(run, *options):
        table = tmp_path / f"{run}{len(options)}.csv"
        code, _, errors = mvcn("predict", runs[run].folder, posts, *options, "--output", table)
        assert code == 0, errors
        return [
            [float(value) for name, value in row.items() if name.startswith("probability_")]
            for row in csv.DictReader(table.read_text("utf-8").splitlines())
        ]

    plain, balanced = predicted("accuracy"), predicted("accuracy", "--for", "macro-f1")
    assert predicted("macro-f1", "--for", "accuracy") == plain
    offsets = runs["accuracy"].metrics["class_balance"]["offsets"]
    for before, after in zip(plain, balanced, strict=True):
        expected = np.array(before) * np.exp(offsets)
        assert after == pytest.approx(expected / expected.sum())
    sentence = fails(
        *("predict", runs["accuracy"].folder, posts, "--for", "macro-f1"),
        *("--precision", "0.9", "--output", tmp_path / "out.csv"),
    )
    assert "Use either --precision or --for" in sentence


def test_a_run_is_evaluated_for_another_score(runs, unbalanced, tmp_path, mvcn):
    found = []
    for run, option in (("accuracy", ()), ("macro-f1", ("--for", "accuracy"))):
        scores = tmp_path / f"{run}.json"
        command = ("evaluate", runs[run].folder, "--root", unbalanced / "dev/posts.csv")
        code, _, errors = mvcn(*command, *option, "--json", scores)
        assert code == 0, errors
        found.append(json.loads(scores.read_text("utf-8")))
    assert found[0] == found[1]


def test_a_run_without_offsets_says_so(runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(runs["accuracy"].folder, folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["class_balance"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    Classifier.from_pretrained(folder, target="accuracy")
    with pytest.raises(RunError, match="has no offsets for macro F1"):
        Classifier.from_pretrained(folder, target="macro-f1")
