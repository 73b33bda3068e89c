"""A run for macro F1: its offsets are saved with the model, and every way to predict has them."""

import json

import numpy as np
import pytest
import torch

from mvcn.data.synthetic import generate_posts, write_table
from mvcn.inference import Classifier
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
