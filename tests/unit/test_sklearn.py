"""The scikit-learn classifier: its contract, its repeatability, and what the constraint does."""

import numpy as np
import pytest
import torch
from scipy.sparse import csc_array, csr_array, csr_matrix
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mvcn.sklearn import CongruityClassifier, Rows


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


@pytest.fixture(scope="module")
def blobs():
    """60 rows of three overlapping classes, and an integer weight from 0 to 3 for each."""
    random = np.random.default_rng(0)
    classes = np.arange(60) % 3
    rows = random.normal(size=(60, 4)) + 1.5 * np.eye(4)[classes]
    return rows, classes, random.integers(0, 4, 60)


def probabilities(rows, classes, weights=None, **options):
    model = CongruityClassifier(random_state=0, **{"max_iter": 20} | options)
    return model.fit(rows, classes, sample_weight=weights).predict_proba(rows)


@pytest.mark.parametrize("form", ["ratio", "share", "absolute"])
@pytest.mark.parametrize("congruity_weight", [0, 0.5])
def test_a_weight_is_a_number_of_repeated_rows(blobs, form, congruity_weight):
    """All rows are in one batch, so that the order of batches makes no difference."""
    rows, classes, weights = blobs
    options = {"congruity_form": form, "congruity_weight": congruity_weight, "max_iter": 20}
    weighted, repeated = (CongruityClassifier(random_state=0, **options) for _ in range(2))
    weighted.fit(rows, classes, sample_weight=weights)
    repeated.fit(np.repeat(rows, weights, 0), np.repeat(classes, weights))
    found, expected = weighted.predict_proba(rows), repeated.predict_proba(rows)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(found - probabilities(rows, classes, **options)).max() > 0.01


def test_only_the_ratios_of_weights_count(blobs):
    rows, classes, weights = blobs
    expected = probabilities(rows, classes, weights)
    for scaled in (weights / 1000, weights * 1000.0):
        np.testing.assert_allclose(probabilities(rows, classes, scaled), expected, atol=1e-6)


def test_a_weighted_step_of_few_rows_is_right_on_average(digits):
    """With small batches, too, a class of large weight is predicted more often."""
    rows, others, classes, _ = digits
    weights = np.where(classes == 8, 20.0, 1.0)
    options = {"max_iter": 3, "batch_size": 100, "random_state": 0}
    shares = [
        np.mean(
            CongruityClassifier(**options).fit(rows, classes, given).predict_proba(others)[:, 8]
        )
        for given in (None, weights)
    ]
    assert shares[1] > 1.2 * shares[0]


def test_class_weights_are_weights_of_the_rows_of_a_class(blobs):
    rows, classes, weights = blobs
    by_class = {0: 3.0, 1: 0.5}  # and 1 for the other
    factors = np.array([3.0, 0.5, 1.0])[classes]
    for given in (None, weights):
        found = probabilities(rows, classes, given, class_weight=by_class)
        expected = probabilities(rows, classes, factors * (1 if given is None else given))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_balanced_classes_have_the_same_share(blobs):
    rows, classes, _ = blobs
    few = np.flatnonzero((classes != 1) | (np.arange(60) < 15))
    counts = np.bincount(classes[few])
    found = probabilities(rows[few], classes[few], class_weight="balanced")
    expected = probabilities(rows[few], classes[few], 1 / counts[classes[few]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_row_of_weight_zero_is_not_read(blobs):
    rows, classes, weights = blobs
    other = np.where(weights[:, None] > 0, rows, 1e6)
    expected = CongruityClassifier(random_state=0).fit(rows, classes, weights)
    found = CongruityClassifier(random_state=0).fit(other, classes, weights)
    assert np.array_equal(found.predict_proba(rows), expected.predict_proba(rows))


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.full(60, -1.0), "[Nn]egative"), (np.zeros(60), "zero|weight of 0"), ([1.0], "shape")],
)
def test_weights_that_are_none_are_refused(blobs, weights, message):
    rows, classes, _ = blobs
    with pytest.raises(ValueError, match=message):
        CongruityClassifier().fit(rows, classes, sample_weight=weights)


def test_classes_without_any_weight_are_refused(blobs):
    rows, classes, _ = blobs
    with pytest.raises(ValueError, match="Every row has a weight of 0"):
        CongruityClassifier(class_weight={0: 0, 1: 0, 2: 0}).fit(rows, classes)


@pytest.mark.parametrize("factor", [-1, float("nan"), float("inf"), "2"])
def test_a_class_weight_that_would_drop_a_class_or_all_is_refused(blobs, factor):
    rows, classes, _ = blobs
    with pytest.raises(ValueError, match=r"'class_weight' of class 1 is .*finite number of 0 or"):
        CongruityClassifier(class_weight={1: factor}).fit(rows, classes)


def test_logarithms_are_finite_where_probabilities_round_to_zero(blobs):
    rows, classes, _ = blobs
    model = CongruityClassifier(random_state=0).fit(rows.astype("float32"), classes)
    logs = model.predict_log_proba(rows)
    np.testing.assert_allclose(np.exp(logs), model.predict_proba(rows), atol=1e-6)
    far = np.full((1, 4), -1e4)
    assert model.predict_proba(far).min() == 0
    assert np.isfinite(model.predict_log_proba(far)).all()


@pytest.mark.parametrize("make", [csr_array, csr_matrix, csc_array])
def test_sparse_rows_are_those_of_the_same_dense_array(digits, make, monkeypatch):
    monkeypatch.setattr("mvcn.sklearn.SPARSE_ROWS_AT_ONCE", 100)
    rows, others, classes, _ = digits
    options = {"max_iter": 3, "random_state": 0}
    dense = CongruityClassifier(**options).fit(rows, classes)
    sparse = CongruityClassifier(**options).fit(make(rows), classes)
    assert np.array_equal(sparse.predict_proba(others), dense.predict_proba(others))
    for method in ("predict_proba", "predict_log_proba", "transform", "predict"):
        found, expected = getattr(sparse, method)(make(others)), getattr(dense, method)(others)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert sparse.score(make(others), dense.predict(others)) == 1


def test_sparse_rows_are_never_dense_all_at_once():
    """Words of texts: a dense array of them would have 16 GB."""
    columns = 20_000
    where = np.arange(10**5)
    rows = csr_array((np.ones(10**5), (where, where % 3)), shape=(10**5, columns))
    parts = Rows(rows).parts()
    assert next(parts).shape == (1000, columns)


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
