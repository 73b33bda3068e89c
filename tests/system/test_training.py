"""A whole run: what its folder says is what the model does."""

import copy
import csv
import json
import os
import shutil
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModel, AutoModelForSequenceClassification, TrainerCallback

from mvcn.config import read_recipe
from mvcn.data.reading import read_training_posts
from mvcn.data.table import read_table
from mvcn.errors import BadImageError, RunError
from mvcn.explain.run import TrainedRun
from mvcn.inference.classifier import Classifier
from mvcn.training import fit
from mvcn.training.callbacks import QueuePrefill
from mvcn.training.run import train
from mvcn.training.run_folder import Run
from mvcn.training.trainer import MvcnTrainer


def history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(folder, name):
    return [float(row[name]) for row in history(folder) if row[name]]


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def dev(posts_table):
    return read_table(posts_table / "dev" / "posts.csv").posts


@pytest.fixture
def one_epoch(tiny_config):
    """Settings of a short run, with changes."""

    def build(**changes):
        return tiny_config(**changes | {"training": {"epochs": 1} | changes.get("training", {})})

    return build


def test_the_folder_holds_what_is_said(tiny_run, tiny_config):
    assert {path.name for path in tiny_run.iterdir()} == {
        "README.md",
        "checkpoints",
        "config.json",
        "config.yaml",
        "dev_predictions.csv",
        "environment.json",
        "history.csv",
        "metrics.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert read_recipe(str(tiny_run / "config.yaml")) == tiny_config()
    environment = json.loads((tiny_run / "environment.json").read_text())
    assert environment["seed"] == 0
    assert set(environment["data_fingerprint"]) == {"train", "dev"}


def test_long_texts_are_read_as_far_as_is_worth_while(one_epoch, tmp_path, caplog):
    """The tiny encoder reads 128 letters; the texts have 100, but for one in each split."""
    places = {}
    for split, rows in (("train", 120), ("dev", 12)):
        words = [" ".join(["ab cd"] * (20 if i else 40)) for i in range(rows)]
        table = [f"{text},{'pn'[i % 2]}" for i, text in enumerate(words)]
        places[split] = tmp_path / f"{split}.csv"
        places[split].write_text("\n".join(["text,label", *table]))
    config = one_epoch(
        model={"max_tokens": "auto"}, data={name: str(place) for name, place in places.items()}
    )
    with caplog.at_level("INFO", "mvcn"):
        run = train(config, tmp_path / "run")
    told = [message for message in caplog.messages if "word pieces" in message]
    assert told == [
        "Texts are read up to 82 word pieces, 99 % of them completely, which takes 1.3 times the "
        "work of 64 word pieces (--set model.max_tokens=64).",
        "2 texts are longer than 82 word pieces, and the rest is not read: train with --set "
        "model.max_tokens=128.",
    ]
    counts = metrics(tmp_path / "run")["texts"]
    assert {name: (one["texts"], one["truncated"]) for name, one in counts.items()} == {
        "train": (120, 1),
        "dev": (12, 1),
    }
    assert Run(tmp_path / "run").processor.max_tokens == 82
    assert run.config.model.max_tokens == "auto"
    assert "At most 82 word pieces" in (tmp_path / "run/README.md").read_text()


def test_the_dev_scores_are_those_of_the_saved_model(tiny_run, dev):
    """By three paths: the Trainer's, the Classifier's, and scikit-learn on its predictions."""
    classifier = Classifier.from_pretrained(tiny_run)
    scores = metrics(tiny_run)["dev"]
    assert classifier.evaluate(dev).evaluation.to_mapping() == scores
    predicted = [prediction.label for prediction in classifier.predict(dev)]
    labels = [post.label for post in dev]
    assert scores["n"] == len(dev) == 16
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    weighted = f1_score(labels, predicted, average="weighted", zero_division=0)
    assert scores["f1_weighted"] == pytest.approx(weighted, abs=1e-12)


def test_cached_features_and_pixels_give_the_same_probabilities(tiny_run, dev):
    classifier = Classifier.from_pretrained(tiny_run)
    chances = np.array([list(p.probabilities.values()) for p in classifier.predict(dev)])
    rows = [classifier.class_names.index(post.label) for post in dev]
    expected = -np.log(chances[np.arange(len(dev)), rows]).mean()
    found = metrics(tiny_run)["dev"]["negative_log_likelihood"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_any_code_can_load_the_model_by_the_auto_classes(tiny_run):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_run, local_files_only=True)
    weights = load_file(tiny_run / "model.safetensors")
    assert sum(t.numel() for t in model.state_dict().values()) == sum(
        t.numel() for t in weights.values()
    )
    assert not any("queue" in name for name in weights)


def test_the_history_names_each_loss_part(tiny_run):
    rows = [row for row in history(tiny_run) if row["loss"]]
    assert len(rows) == 12  # 3 epochs of 4 steps
    for row in rows:
        parts = [float(row[name]) for name in ("cross_entropy", "congruity")]
        assert float(row["loss"]) == pytest.approx(parts[0] + 0.1 * parts[1], abs=1e-5)
    assert len(column(tiny_run, "eval_f1_weighted")) == 3


def test_self_prefill_comes_before_the_constraint(tiny_run):
    congruity = column(tiny_run, "congruity")
    assert congruity[:4] == [0, 0, 0, 0]  # one epoch of cross-entropy alone
    assert min(congruity[4:]) > 0  # then at once with a full queue


def test_prefill_none_starts_with_an_empty_queue(one_epoch, tmp_path):
    train(one_epoch(objective={"prefill": "none"}), tmp_path)
    congruity = column(tmp_path, "congruity")
    assert congruity[0] == 0
    assert min(congruity[1:]) > 0


def test_an_auxiliary_run_makes_the_constraint_start_at_once(one_epoch, tiny_run, tmp_path):
    objective = {"prefill": "auxiliary-run", "prefill_run": str(tiny_run)}
    train(one_epoch(objective=objective), tmp_path)
    assert min(column(tmp_path, "congruity")) > 0


def test_an_auxiliary_module_learns_apart_and_is_discarded(one_epoch, tmp_path, monkeypatch):
    filled = []

    def watched(callback, model):
        filled.append(copy.deepcopy(model))
        fill(callback, model)

    fill = QueuePrefill._fill
    monkeypatch.setattr(QueuePrefill, "_fill", watched)
    train(one_epoch(objective={"prefill": "auxiliary", "prefill_epochs": 2}), tmp_path / "run")
    (module,) = filled
    assert min(column(tmp_path / "run", "congruity")) > 0
    assert not (tmp_path / "run" / "auxiliary").exists()
    # By itself, cross-entropy for as many epochs makes the same module.
    alone = one_epoch(objective={"congruity_weight": 0.0}, training={"epochs": 2})
    train(alone, tmp_path / "alone")
    found, expected, kept = (
        model.state_dict()
        for model in (module, *(Run(tmp_path / name).model for name in ("alone", "run")))
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not all(torch.equal(kept[name], expected[name]) for name in expected)


class EndOfTheFirstEpoch(TrainerCallback):
    """Stops the program when the second epoch begins."""

    def on_epoch_begin(self, args, state, control, **kwargs):
        if state.epoch >= 1:
            raise KeyboardInterrupt


def test_a_resumed_run_needs_no_auxiliary_module(one_epoch, tmp_path, monkeypatch):
    config = one_epoch(objective={"prefill": "auxiliary"}, training={"epochs": 2})
    train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", callbacks=[EndOfTheFirstEpoch()])
    monkeypatch.setattr(fit, "_train_auxiliary", None)
    train(config, tmp_path / "run", resume=True)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_dev_predictions_are_those_of_the_saved_model(tiny_run, tiny_config):
    dev = read_training_posts(tiny_config().data, seed=0).dev
    rows = Run(tiny_run).predictions()
    assert [(row["id"], row["label"]) for row in rows] == [(post.id, post.label) for post in dev]
    for row, expected in zip(rows, Classifier.from_pretrained(tiny_run).predict(dev), strict=True):
        assert row["predicted"] == expected.label
        for name, probability in expected.probabilities.items():
            assert float(row[f"probability_{name}"]) == pytest.approx(probability, abs=1e-5)


def test_what_annotators_said_is_learned(one_epoch, tmp_path):
    train(one_epoch(objective={"unimodal_label_weight": 0.5}), tmp_path)
    assert len(column(tmp_path, "unimodal_cross_entropy")) == 4
    table = Classifier.from_pretrained(tmp_path).model.unimodal_label_head.merge_table
    assert table.sum().item() == pytest.approx(1)  # shares of all training posts
    assert ((table > 0).sum(-1) <= 1).all()  # two unimodal labels decide the post's
    # By the merge rule two equal labels stay: classes are in the order of the alphabet.
    assert all(table[k, k, k] == table[k, k].sum() > 0 for k in range(3))


def test_a_teacher_makes_the_targets_softer(one_epoch, tmp_path):
    for name, weight in (("alone", 0.0), ("taught", 0.5)):
        objective = {"unimodal_label_weight": 0.5, "distillation_weight": weight}
        train(one_epoch(objective=objective), tmp_path / name)
    for part in ("cross_entropy", "unimodal_cross_entropy"):
        assert column(tmp_path / "alone", part) != column(tmp_path / "taught", part)


def test_the_seed_decides_the_weights(one_epoch, tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        torch.manual_seed(len(name) + seed)  # what was drawn before must not matter
        train(one_epoch(training={"seed": seed}), tmp_path / name)
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["network.classifier.weight"], c["network.classifier.weight"])
    assert metrics(tmp_path / "a")["dev"] == metrics(tmp_path / "b")["dev"]


@pytest.fixture
def scripted(monkeypatch):
    """Let dev scores be given ones, and keep each epoch's weights."""
    kept = SimpleNamespace(scores=[], weights=[])

    class Scripted(MvcnTrainer):
        def evaluate(self, *arguments, **options):
            weights = self.model.state_dict()
            kept.weights.append({name: t.clone() for name, t in weights.items()})
            return super().evaluate(*arguments, **options)

        def _headline_metrics(self, prediction):
            score = kept.scores[len(kept.weights) - 1]
            return super()._headline_metrics(prediction) | {"f1_weighted": score}

    monkeypatch.setattr(fit, "MvcnTrainer", Scripted)
    return kept


@pytest.mark.parametrize("trained_encoder", [False, True])
def test_the_saved_model_is_that_of_the_best_epoch(
    tiny_config, scripted, tmp_path, trained_encoder
):
    scripted.scores = [0.2, 0.6, 0.1, 0.5]
    model = {"freeze_image_encoder": not trained_encoder}
    report = train(tiny_config(training={"epochs": 4}, model=model), tmp_path).metrics
    assert report["epochs"] == {"trained": 4, "best": 2}
    saved = Classifier.from_pretrained(tmp_path).model.state_dict()
    assert all(torch.equal(saved[name], scripted.weights[1][name]) for name in saved)
    assert not torch.equal(
        saved["network.classifier.weight"], scripted.weights[3]["network.classifier.weight"]
    )
    name = "image_encoder.layers.1.mlp.fc1.weight"
    moved = not torch.equal(scripted.weights[0][name], scripted.weights[3][name])
    assert moved == trained_encoder


def test_training_stops_when_patience_is_over(tiny_config, scripted, tmp_path):
    scripted.scores = [0.3, 0.5, 0.4, 0.5, 0.9]
    report = train(tiny_config(training={"epochs": 5, "patience": 2}), tmp_path).metrics
    assert report["epochs"] == {"trained": 4, "best": 2}


def test_bad_images_are_handled_as_the_settings_say(one_epoch, tmp_path, posts_table):
    shutil.copytree(posts_table / "train" / "images", tmp_path / "images")
    lines = (posts_table / "train" / "posts.csv").read_text().splitlines()
    lines[3] = lines[3].replace(".png", ".gone")
    (tmp_path / "train.csv").write_text("\n".join(lines))
    reports = {}
    for policy in ("error", "blank", "drop"):
        data = {"train": str(tmp_path / "train.csv"), "on_bad_image": policy}
        config = one_epoch(data=data)
        if policy == "error":
            with pytest.raises(BadImageError, match=r"1 image.*gone cannot be opened"):
                train(config, tmp_path / policy)
        else:
            reports[policy] = train(config, tmp_path / policy).metrics
    assert reports["blank"]["posts"] == {"train": 32, "dev": 16}
    assert reports["drop"]["posts"] == {"train": 31, "dev": 16}
    for report in reports.values():
        assert list(report["bad_images"]["train"]) == [lines[3].split(",")[0]]
        assert report["bad_images"]["dev"] == {}


def test_missing_images_are_told_before_the_model_is_built(
    one_epoch, tmp_path, posts_table, monkeypatch
):
    monkeypatch.setattr("mvcn.training.run.build_model", lambda *_, **__: pytest.fail("too late"))
    shutil.copy(posts_table / "train" / "posts.csv", tmp_path)
    config = one_epoch(data={"train": str(tmp_path / "posts.csv")})
    with pytest.raises(BadImageError, match=r"32 images(?s:.*)and 22 more\.\n.*--text-only"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_of_texts_needs_no_image(one_epoch, tmp_path, posts_table):
    shutil.copy(posts_table / "train" / "posts.csv", tmp_path)
    config = one_epoch(data={"train": str(tmp_path / "posts.csv")}, model={"network": "text-cnn"})
    assert train(config, tmp_path / "run").metrics["posts"]["train"] == 32


def test_encoders_saved_in_half_precision_are_trained_in_single(one_epoch, dev, tmp_path):
    model = one_epoch().model
    folders = {}
    for name in ("text_encoder", "image_encoder"):
        folders[name] = shutil.copytree(getattr(model, name), tmp_path / name)
        half = AutoModel.from_pretrained(folders[name]).to(torch.bfloat16)
        half.save_pretrained(folders[name])
    settings = {name: str(folder) for name, folder in folders.items()}
    train(one_epoch(model=settings | {"freeze_image_encoder": False}), tmp_path / "run")
    classifier = Classifier.from_pretrained(tmp_path / "run")
    assert {weight.dtype for weight in classifier.model.parameters()} == {torch.float32}
    assert classifier.evaluate(dev).evaluation.to_mapping() == metrics(tmp_path / "run")["dev"]


def test_posts_with_nothing_to_read_are_not_learned_from(one_epoch, tmp_path, posts_table):
    shutil.copytree(posts_table / "train" / "images", tmp_path / "images")
    with (posts_table / "train" / "posts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[3] |= {"text": " ", "image": ""}
    rows[5] |= {"text": "", "image": "gone.png"}
    with (tmp_path / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    data = {"train": str(tmp_path / "train.csv"), "on_bad_image": "blank"}
    report = train(one_epoch(data=data), tmp_path / "run").metrics
    assert report["posts"] == {"train": 30, "dev": 16}
    assert report["removed"] == {
        "without text and image": 1,
        "without anything that the model reads": 1,
    }
    assert list(report["left_out"]["train"]) == [rows[5]["id"]]
    assert "gone.png" in report["left_out"]["train"][rows[5]["id"]]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "- Left out, without text and image: 1 post." in card
    assert len(TrainedRun(tmp_path / "run").train.posts) == 30


def test_a_run_that_failed_can_be_overwritten_but_not_taken_for_a_model(one_epoch, tmp_path):
    broken = one_epoch(training={"fusion_learning_rate": 1e30, "encoder_learning_rate": 1e30})
    broken.training.epochs = 2
    output = tmp_path / "run"
    with pytest.raises(Exception, match="not finite"):
        train(broken, output)
    with pytest.raises(RunError, match="is not finished"):
        Classifier.from_pretrained(output)
    train(one_epoch(), output, overwrite=True)
    assert Classifier.from_pretrained(output).class_names


def test_no_connection_to_another_computer_is_possible():
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with (
        socket.socket() as connection,
        pytest.raises(RuntimeError, match="tests run without network"),
    ):
        connection.connect(("192.0.2.1", 9))  # an address of no computer, for examples


ADDED_TO_ALL_SCORES = ("key.bias", "reduction.score.3.bias")
"""Change no attention weight: their gradients are rounding, which the optimizer makes steps of."""


def test_states_of_frozen_layers_change_nothing_but_the_time(tmp_path, one_epoch, monkeypatch):
    config = one_epoch(model={"frozen_text_layers": 1})
    weights = []
    for name, most_bytes in (("held", 2**30), ("run", 0)):
        monkeypatch.setattr("mvcn.inputs.texts.MOST_BYTES", most_bytes)
        train(config, tmp_path / name)
        weights.append(load_file(tmp_path / name / "model.safetensors"))
    held, run = weights
    for name in held:
        if name.endswith(ADDED_TO_ALL_SCORES):
            continue
        torch.testing.assert_close(held[name], run[name], rtol=0, atol=1e-4, msg=name)
