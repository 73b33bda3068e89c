"""What fills the queue before the constraint is used, and when."""

from types import SimpleNamespace

import pytest
import torch

from mvcn.config import ObjectiveConfig
from mvcn.errors import ConfigError, RunError
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.losses import Objective
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.runtime.images import ImagePixels
from mvcn.training.callbacks import QueuePrefill, load_auxiliary
from mvcn.training.run_folder import Run

CLASSES = ("negative", "neutral", "positive")
QUEUE = 5


@pytest.fixture
def parts(tiny_settings, generated_posts):
    """A model in training, its objective, 9 posts of theirs."""
    torch.manual_seed(0)
    config = ModelConfig(**tiny_settings)
    model, processor = build_model(config, CLASSES).train(), build_processor(config)
    encoder = PostEncoder(processor, ImagePixels(processor, keep=True))
    posts = encoder.encode(generated_posts[:9], class_names=CLASSES)
    objective = Objective(ObjectiveConfig(queue_size=QUEUE), CLASSES, model.config.hidden_size)
    return SimpleNamespace(model=model, objective=objective, posts=posts)


def build(parts, prefill, epochs=1.0, seed=0, auxiliary=None):
    return QueuePrefill(parts.objective, parts.posts, 2, prefill, epochs, seed, auxiliary)


def begin(callback):
    callback.on_train_begin(None, SimpleNamespace(epoch=0.0), None)


def step(callback, parts, epoch):
    callback.on_step_end(None, SimpleNamespace(epoch=epoch), None, model=parts.model)


def state(objective):
    return {name: tensor.clone() for name, tensor in objective.state_dict().items()}


def assert_holds_features_of(model, parts):
    """Each row of the queue is what `model` makes of one post without dropout, with its label."""
    batch = parts.posts.collate([*parts.posts])
    labels = batch["labels"]
    inputs = {name: tensor for name, tensor in batch.items() if "labels" not in name}
    was_training = model.training
    with torch.no_grad():
        features = model.eval()(**inputs).fused_feature
    model.train(was_training)
    queue = parts.objective.queue
    distances = torch.cdist(queue.features, features)
    posts = distances.argmin(1)
    assert distances.amin(1).max() < 1e-5
    assert len(set(posts.tolist())) == QUEUE
    assert torch.equal(queue.labels, labels[posts])


def test_none_starts_at_once_with_an_empty_queue(parts):
    begin(build(parts, "none"))
    assert parts.objective.congruity_active
    assert parts.objective.queue.num_filled() == 0


def test_self_waits_for_the_model_to_learn(parts):
    callback = build(parts, "self", epochs=1.0)
    begin(callback)
    for epoch in (0.25, 0.75, 0.99):
        step(callback, parts, epoch)
        assert not parts.objective.congruity_active
        assert parts.objective.queue.num_filled() == 0


def test_self_fills_the_queue_and_then_starts(parts):
    callback = build(parts, "self", epochs=1.0)
    parts.objective.queue.enqueue(torch.ones(2, 24), torch.zeros(2, dtype=torch.long))
    step(callback, parts, 1.0)
    assert parts.objective.congruity_active
    assert_holds_features_of(parts.model, parts)
    assert parts.model.training


def test_it_happens_once(parts):
    callback = build(parts, "self")
    step(callback, parts, 1.0)
    before = state(parts.objective)
    torch.nn.init.normal_(parts.model.network.text_projection[1].weight)
    step(callback, parts, 1.25)
    after = state(parts.objective)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_no_random_number_is_drawn(parts):
    before = torch.get_rng_state()
    step(build(parts, "self"), parts, 1.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_posts_are_chosen_by_the_seed(parts):
    queues = []
    for seed in (0, 0, 1):
        parts.objective.congruity_active.fill_(False)
        step(build(parts, "self", seed=seed), parts, 1.0)
        queues.append(parts.objective.queue.features.clone())
    assert torch.equal(queues[0], queues[1])
    assert not torch.equal(queues[0], queues[2])


@pytest.mark.parametrize("prefill", ["auxiliary", "auxiliary-run"])
def test_an_auxiliary_model_fills_it_before_the_first_step(parts, tiny_run, prefill):
    auxiliary = Run(tiny_run).model
    callback = build(parts, prefill, auxiliary=auxiliary)
    begin(callback)
    assert parts.objective.congruity_active
    assert callback.auxiliary is None
    assert_holds_features_of(auxiliary, parts)


def test_a_restored_queue_is_not_filled_again(parts, tiny_run):
    auxiliary = Run(tiny_run).model
    parts.objective.activate()
    begin(build(parts, "auxiliary-run", auxiliary=auxiliary))
    assert parts.objective.queue.num_filled() == 0


def test_without_a_queue_only_the_constraint_starts(parts):
    parts.objective = Objective(ObjectiveConfig(centroids="batch"), CLASSES, 24)
    step(build(parts, "self"), parts, 1.0)
    assert parts.objective.congruity_active


class TestAuxiliaryRun:
    def test_is_loaded(self, parts, tiny_run):
        assert not load_auxiliary(tiny_run, parts.model).training

    def test_must_be_named(self, parts):
        with pytest.raises(ConfigError, match=r"needs a run folder: .*objective.prefill_run"):
            load_auxiliary(None, parts.model)

    def test_must_be_a_run(self, parts, tmp_path):
        with pytest.raises(RunError, match="is not a run folder"):
            load_auxiliary(tmp_path, parts.model)

    @pytest.mark.parametrize(
        ("classes", "settings", "what"),
        [
            (CLASSES, {"hidden_size": 16}, "feature size is 24 instead of 16"),
            (("a", "b", "c"), {}, "classes is .*negative"),
            (("positive", "neutral", "negative"), {}, "classes is .*negative"),
        ],
    )
    def test_must_be_of_a_like_model(self, tiny_settings, tiny_run, classes, settings, what):
        model = build_model(ModelConfig(**tiny_settings | settings), classes)
        with pytest.raises(ConfigError, match=f"cannot fill the queue, because its {what}"):
            load_auxiliary(tiny_run, model)
