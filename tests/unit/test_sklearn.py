"""The scikit-learn classifier: its contract, its repeatability, and what the constraint does."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mvcn.sklearn import CongruityClassifier


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [CongruityClassifier(max_iter=10, learning_rate_init=0.01, random_state=0)]
)
def test_keeps_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    rows, classes = load_digits(return_X_y=True)
    return train_test_split(rows / 16, classes, random_state=0)


def spread_ratio(features, classes):
    """Return the mean squared distance to the own class mean over that between class means."""
    means = np.stack([features[classes == k].mean(0) for k in np.unique(classes)])
    within = np.square(features - means[classes]).sum(1).mean()
    return within / np.square(means - means.mean(0)).sum(1).mean()


def test_the_constraint_draws_classes_together(digits):
    rows, others, classes, other_classes = digits
    ratios, scores = {}, {}
    for weight in (0.0, 1.0):
        model = CongruityClassifier((32,), congruity_weight=weight, random_state=0)
        model.fit(rows, classes)
        ratios[weight] = spread_ratio(model.transform(others), other_classes)
        scores[weight] = model.score(others, other_classes)
    assert ratios[1.0] < 0.8 * ratios[0.0]
    assert min(scores.values()) > 0.95


def test_one_seed_gives_one_model(digits):
    rows, others, classes, _ = digits
    first, second, third = (
        CongruityClassifier(max_iter=3, random_state=seed).fit(rows, classes).predict_proba(others)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_works_in_pipelines_with_classes_that_are_names(digits):
    rows, _, classes, _ = digits
    names = np.array(["even", "odd"])[classes % 2]
    pipeline = make_pipeline(StandardScaler(), CongruityClassifier(max_iter=10, random_state=0))
    assert cross_val_score(pipeline, rows, names, cv=2).min() > 0.9


def test_the_loss_falls(digits):
    rows, _, classes, _ = digits
    model = CongruityClassifier(max_iter=20, congruity_weight=0.0, random_state=0)
    curve = model.fit(rows, classes).loss_curve_
    assert len(curve) == model.n_iter_ == 20
    assert curve[-1] < 0.2 * curve[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_layer_sizes": 5},
        {"queue_size": 0},
        {"congruity_form": "square"},
        {"learning_rate_init": 0.0},
    ],
)
def test_parameters_out_of_range_are_named(wrong, digits):
    rows, _, classes, _ = digits
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' parameter"):
        CongruityClassifier(**wrong).fit(rows, classes)


@pytest.mark.parametrize("sizes", [(), (8, 0), (2.5,)])
def test_layers_without_width_are_refused(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        CongruityClassifier(sizes).fit(np.eye(4), [0, 1, 0, 1])


def test_a_training_that_diverges_is_an_error():
    rows = 1e30 * np.random.default_rng(0).normal(size=(10, 4))
    with pytest.raises(ValueError, match="lower learning_rate_init"):
        CongruityClassifier(learning_rate_init=1e20, max_iter=5).fit(rows, [0, 1] * 5)


@pytest.mark.parametrize(("batch_size", "expected"), [(20, 1), (400, 3)])
def test_small_steps_are_computed_in_one_thread(monkeypatch, digits, batch_size, expected):
    threads, used, loss = torch.get_num_threads(), set(), CongruityClassifier._loss

    def watched(*arguments):
        used.add(torch.get_num_threads())
        return loss(*arguments)

    monkeypatch.setattr(CongruityClassifier, "_loss", watched)
    torch.set_num_threads(3)
    try:
        CongruityClassifier(batch_size=batch_size, max_iter=1).fit(digits[0], digits[2])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert used == {expected}
