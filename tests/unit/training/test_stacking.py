"""Linear models count as far as they help the networks, and give the same in the saved model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model, join_members
from mvcn.models.classification import MvcnForClassification
from mvcn.training.members import assign_folds
from mvcn.training.stacking import choose_scales, fit_linear_models, stack_linear_models

NAMES = ("negative", "neutral", "positive")


def draw(labels, strength, seed):
    """Log-probabilities that know the labels as far as `strength`."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), 3))
    return log_softmax(strength * np.eye(3)[labels] + noise, axis=1)


def cost(scale, logits, gains, labels):
    return min(
        -log_softmax(t * (logits + scale * gains), axis=1)[np.arange(len(labels)), labels].mean()
        for t in np.linspace(0.1, 3, 300)
    )


@pytest.fixture
def labels():
    return np.random.default_rng(5).integers(3, size=400)


def test_the_scale_is_the_likeliest_at_the_best_temperature(labels):
    logits, gains = draw(labels, 2, 0), draw(labels, 1, 1)
    (found,) = choose_scales(logits, [gains], labels)
    best = cost(found, logits, gains, labels)
    assert 0 < found < 1
    assert all(best <= cost(found * f, logits, gains, labels) + 1e-5 for f in (0, 0.7, 1.4))


def test_what_knows_nothing_or_the_opposite_does_not_count(labels):
    logits = draw(labels, 4, 0)
    assert choose_scales(logits, [draw(labels, -1, 1)], labels)[0] == 0
    assert choose_scales(logits, [draw(labels, 0, 2)], labels)[0] == 0


def test_chance_rarely_counts():
    generator = np.random.default_rng(0)
    found = []
    for seed in range(100):
        labels = generator.integers(3, size=60)
        useless = [draw(labels, 0, 3 * seed + n) for n in (1, 2)]
        found.append(choose_scales(draw(labels, 1, 3 * seed), useless, labels).any())
    assert np.mean(found) <= 0.05


def test_what_alone_knows_decides(labels):
    logits, gains = draw(labels, 0, 0), draw(labels, 5, 1)
    (found,) = choose_scales(logits, [gains], labels)
    joint = (logits + found * gains).argmax(1)
    assert (joint == labels).mean() >= (gains.argmax(1) == labels).mean() - 0.01


@pytest.fixture
def fitted(tiny_settings, generated_posts, monkeypatch):
    """Two members, posts of which some lack text or image, and the fitted stack."""
    monkeypatch.setattr("mvcn.training.stacking.STANDARD_ERRORS", -np.inf)  # posts are few
    torch.manual_seed(0)
    config = ModelConfig(
        **tiny_settings, frozen_text_layers="all", lower_text_layers=1, stack_linear=True
    )
    members = [build_model(config, NAMES) for _ in range(2)]
    shown = [
        replace(post, text="" if n % 9 == 0 else post.text)
        for n, post in enumerate(generated_posts)
    ]
    shown = [
        replace(post, image=None if n % 7 == 1 else post.image) for n, post in enumerate(shown)
    ]
    posts = PostEncoder.for_model(members[0], build_processor(config)).encode(shown, "blank", NAMES)
    logits = draw(posts.labels, 0, 3)
    models = fit_linear_models(members[0], posts, assign_folds(posts, 5, 0))
    stack, added = stack_linear_models(models, posts.labels, logits)
    weights = [member.trained_weights() for member in members]
    return join_members(members[0], weights), join_members(members[0], weights, stack), posts, added


def test_each_member_adds_the_logits_of_the_stack(fitted):
    plain, ensemble, posts, _ = fitted
    inputs = posts.inputs(range(len(posts)))
    with torch.inference_mode():
        tokens = plain.encode(**inputs)
        added = ensemble.network.linear(tokens)
        each = [one(tokens).logits for one in plain.network.members]
        expected = torch.stack([(one.log_softmax(-1) + added).softmax(-1) for one in each]).mean(0)
        torch.testing.assert_close(ensemble(**inputs).logits.softmax(-1), expected)


def test_a_post_has_only_the_terms_of_what_it_has(fitted):
    _, ensemble, posts, added = fitted
    inputs = posts.inputs(range(len(posts)))
    with torch.inference_mode():
        tokens = ensemble.encode(**inputs)
        missing = tokens._replace(
            text_mask=torch.zeros_like(tokens.text_mask),
            image_mask=torch.zeros_like(tokens.image_mask),
        )
        assert not ensemble.network.linear(missing).any()
    assert np.isfinite(added).all()


def test_a_saved_ensemble_gives_the_same(fitted, tmp_path):
    _, ensemble, posts, _ = fitted
    ensemble.save_pretrained(tmp_path)
    loaded = MvcnForClassification.from_pretrained(tmp_path).eval()
    inputs = posts.inputs(range(8))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(**inputs).logits, ensemble(**inputs).logits)
