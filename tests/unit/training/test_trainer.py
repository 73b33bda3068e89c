"""The Trainer with an objective: what one step does to weights, queue and log."""

import pytest
import torch
from torch import nn

from mvcn.errors import MvcnError, RunError
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.plugins import VARIABLE
from mvcn.runtime.images import ImagePixels
from mvcn.training.fit import build_trainer
from tests import example_plugin

CLASSES = ("negative", "neutral", "positive")
POSTS = 8


@pytest.fixture
def build(tiny_config, generated_posts, tmp_path):
    """Return a function from changes of the settings to a trainer without dropout."""

    def build_with(**changes):
        training = {"epochs": 1, "batch_size": 8, "warmup_fraction": 0.0, "weight_decay": 0.01}
        training |= {"max_gradient_norm": 1e9} | changes.pop("training", {})
        config = tiny_config(training=training, **changes)
        torch.manual_seed(0)
        model, processor = build_model(config.model, CLASSES), build_processor(config.model)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        encoder = PostEncoder(processor, ImagePixels(processor, keep=True))
        posts = encoder.encode(generated_posts[:POSTS], class_names=CLASSES)
        return build_trainer(config, tmp_path / "run", model, {"train": posts, "dev": posts})

    return build_with


ALONE = {"congruity_weight": 0.0}
"""Cross-entropy alone: no queue, so that batches do not depend on each other."""


def train_one_step(trainer, learning_rate=0.1):
    """Take one step of plain gradient descent, whose size shows the scale of the loss."""
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    trainer.optimizer = torch.optim.SGD(trained, lr=learning_rate)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer._load_best_model = lambda: None
    trainer.train()
    after = dict(trainer.model.named_parameters())
    change = {name: (after[name].detach() - before[name]) for name in before}
    (logged,) = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return change, logged


def test_accumulated_small_batches_equal_one_large_batch(build):
    whole, loss = train_one_step(build(objective=ALONE))
    parts = {"batch_size": 2, "gradient_accumulation": 4}
    accumulated, loss_of_parts = train_one_step(build(objective=ALONE, training=parts))
    assert max(change.abs().max() for change in whole.values()) > 1e-3
    for name in whole:
        torch.testing.assert_close(accumulated[name], whole[name], atol=1e-6, rtol=0)
    assert loss_of_parts == pytest.approx(loss, abs=1e-6)


def test_the_logged_loss_is_the_cross_entropy_of_the_posts(build):
    trainer = build(objective=ALONE)
    batch = trainer.data_collator([*trainer.train_dataset])
    inputs = {name: tensor for name, tensor in batch.items() if "labels" not in name}
    logits = trainer.model(**inputs).logits
    expected = nn.functional.cross_entropy(logits, batch["labels"]).item()
    _, logged = train_one_step(trainer)
    assert logged == pytest.approx(expected, abs=1e-6)


def test_the_queue_takes_each_micro_batch_once(build):
    trainer = build(
        objective={"queue_size": 20, "prefill": "none"},
        training={"batch_size": 2, "gradient_accumulation": 2},
    )
    taken, enqueue = [], trainer.objective.queue.enqueue

    def watched(features, labels):
        taken.append(labels.clone())
        enqueue(features, labels)

    trainer.objective.queue.enqueue = watched
    trainer.train()
    assert [len(labels) for labels in taken] == [2, 2, 2, 2]
    order = list(trainer._get_train_sampler())
    labels = [trainer.train_dataset[i]["labels"] for i in order]
    assert trainer.objective.queue.labels[:8].tolist() == labels
    assert trainer.objective.queue.num_filled() == POSTS


def test_evaluation_leaves_queue_and_switches_alone(build):
    trainer = build(objective={"prefill": "none"})
    trainer.train()
    before = {name: t.clone() for name, t in trainer.objective.state_dict().items()}
    trainer.evaluate()
    trainer.logits(trainer.eval_dataset)
    after = trainer.objective.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_loss_of_a_batch_uses_the_queue_before_the_batch_is_in_it(build):
    trainer = build(objective={"prefill": "none", "queue_size": 20})
    trainer.train()
    (first,) = [entry for entry in trainer.state.log_history if "congruity" in entry]
    assert first["congruity"] == 0


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_loss_that_is_not_finite_stops_the_run(build, accumulation):
    trainer = build(training={"batch_size": 4, "gradient_accumulation": accumulation})
    with torch.no_grad():
        trainer.model.network.classifier.weight[0, 0] = float("nan")
    with pytest.raises(
        MvcnError,
        match=r"\(.*cross_entropy.*\) is not finite at step 0: lower training\.encoder_learning",
    ):
        trainer.train()


def test_a_loss_of_a_plugin_that_is_not_finite_is_named(build, monkeypatch):
    monkeypatch.setenv(VARIABLE, "tests.example_plugin")
    monkeypatch.setitem(
        example_plugin.LOSSES, "mine", lambda batch: batch.mean(batch.targets.labels / 0)
    )
    trainer = build(objective={"losses": {"mine": 0.5}})
    with pytest.raises(
        MvcnError, match=r"loss \(mine\) is not finite at step 0: correct the loss 'mine'"
    ):
        trainer.train()


class TestParameterGroups:
    @pytest.fixture
    def trainer(self, build, tiny_settings):
        rates = {"encoder_learning_rate": 1e-5, "fusion_learning_rate": 3e-4}
        frozen = {"freeze_image_encoder": False, "frozen_text_layers": 1}
        return build(training=rates, model=tiny_settings | frozen)

    @pytest.fixture
    def settings(self, trainer):
        """Name of each parameter -> its learning rate and weight decay."""
        names = {id(p): name for name, p in trainer.model.named_parameters()}
        groups = trainer.create_optimizer().param_groups
        rows = [(names[id(p)], (g["lr"], g["weight_decay"])) for g in groups for p in g["params"]]
        assert len(rows) == len(dict(rows))
        return dict(rows)

    def test_hold_each_trainable_parameter_once(self, trainer, settings):
        trained = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
        assert settings.keys() == trained
        assert "text_encoder.encoder.layer.0.output.dense.weight" not in settings
        assert "image_encoder.layers.0.mlp.fc1.weight" in settings

    def test_encoders_have_their_own_learning_rate(self, settings):
        for name, (rate, _) in settings.items():
            of_encoder = name.startswith(("text_encoder.", "image_encoder."))
            assert rate == (1e-5 if of_encoder else 3e-4), name

    def test_biases_and_norms_are_not_decayed(self, trainer, settings):
        modules = dict(trainer.model.named_modules())
        for name, (_, decay) in settings.items():
            module, _, kind = name.rpartition(".")
            is_norm = isinstance(modules[module], nn.LayerNorm)
            assert decay == (0 if is_norm or "bias" in kind else 0.01), name


def test_a_checkpoint_that_does_not_fit_is_refused(build, tmp_path):
    trainer = build(model={"num_fusion_layers": 2})
    trainer._save(str(tmp_path / "checkpoint-1"))
    with pytest.raises(RunError, match="earlier version wrote them: start again with --over"):
        build()._load_from_checkpoint(str(tmp_path / "checkpoint-1"))
