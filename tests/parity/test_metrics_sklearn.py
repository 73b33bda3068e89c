"""Metrics against scikit-learn, and intervals against resampling of the posts themselves."""

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    classification_report,
    confusion_matrix,
    f1_score,
    log_loss,
)

from mvcn.evaluation.metrics import evaluate_predictions, mean_recall

NAMES = ["positive", "neutral", "negative"]


def drawn_predictions(num_classes, n=300):
    generator = np.random.default_rng(num_classes)
    probabilities = generator.dirichlet(np.ones(num_classes), n)
    labels = np.array([generator.choice(num_classes, p=row) for row in probabilities])
    return probabilities, labels


@pytest.mark.parametrize("num_classes", [2, 3])
def test_equals_the_classification_report(num_classes):
    probabilities, labels = drawn_predictions(num_classes)
    names = NAMES[:num_classes]
    actual = evaluate_predictions(probabilities, labels, names)
    predicted = probabilities.argmax(axis=1)
    report = classification_report(labels, predicted, target_names=names, output_dict=True)
    assert actual.accuracy == pytest.approx(report["accuracy"], abs=1e-12)
    assert actual.f1_macro == pytest.approx(report["macro avg"]["f1-score"], abs=1e-12)
    assert actual.f1_weighted == pytest.approx(report["weighted avg"]["f1-score"], abs=1e-12)
    for name in names:
        scores, row = actual.per_class[name], report[name]
        expected = [row[key] for key in ("precision", "recall", "f1-score", "support")]
        assert [scores.precision, scores.recall, scores.f1, scores.support] == expected


@pytest.mark.parametrize("shown", [3, 2])
def test_mean_recall_is_the_balanced_accuracy_of_the_classes_that_occur(shown):
    probabilities, labels = drawn_predictions(3)
    labels, predicted = labels[labels < shown], probabilities.argmax(axis=1)[labels < shown]
    found = mean_recall(confusion_matrix(labels, predicted, labels=range(3)))
    recalls = [(predicted[labels == k] == k).mean() for k in range(shown)]
    assert found == pytest.approx(np.mean(recalls), abs=1e-12)
    if shown == 3:
        assert found == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-12)


def test_binary_f1_equals_the_default_average():
    probabilities, labels = drawn_predictions(2)
    actual = evaluate_predictions(probabilities, labels, NAMES[:2])
    assert actual.f1_binary == f1_score(labels, probabilities.argmax(axis=1))


def test_likelihood_equals_log_loss():
    probabilities, labels = drawn_predictions(3)
    actual = evaluate_predictions(probabilities, labels, NAMES)
    expected = log_loss(labels, probabilities)
    assert actual.negative_log_likelihood == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("present", [[0], [0, 2], [1, 2]])
def test_absent_classes_count_as_with_all_labels_given(present):
    probabilities, labels = drawn_predictions(3)
    kept = np.isin(labels, present) & np.isin(probabilities.argmax(axis=1), present)
    probabilities, labels = probabilities[kept], labels[kept]
    predicted = probabilities.argmax(axis=1)
    actual = evaluate_predictions(probabilities, labels, NAMES)
    settings = {"labels": [0, 1, 2], "zero_division": 0}
    macro = f1_score(labels, predicted, average="macro", **settings)
    weighted = f1_score(labels, predicted, average="weighted", **settings)
    assert (actual.f1_macro, actual.f1_weighted) == pytest.approx((macro, weighted), abs=1e-12)
    expected = confusion_matrix(labels, predicted, labels=[0, 1, 2])
    np.testing.assert_array_equal(actual.confusion_matrix, expected)


def resampled_metrics(labels, predicted, num_classes, resamples):
    """Draw posts with replacement and let scikit-learn evaluate each draw."""
    generator, n = np.random.default_rng(7), len(labels)
    settings = {"labels": range(num_classes), "zero_division": 0}
    rows = []
    for _ in range(resamples):
        posts = generator.integers(n, size=n)
        truth, guess = labels[posts], predicted[posts]
        f1 = f1_score(truth, guess, average=None, **settings)
        support = np.bincount(truth, minlength=num_classes)
        rows.append([(truth == guess).mean(), f1 @ support / n, f1.mean(), f1[1]])
    names = ["accuracy", "f1_weighted", "f1_macro", "f1_binary"]
    return dict(zip(names, np.array(rows).T, strict=True))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_intervals_equal_those_of_resampled_posts(num_classes):
    # Each end is a quantile of 1000 draws; its standard error is sqrt(0.025 * 0.975 / 1000)
    # over the normal density 0.0584 at 1.96: 0.085 standard deviations of the metric. Two
    # independent draws of it differ by 0.085 * sqrt(2) = 0.12; the tolerance is 4 times this.
    probabilities, labels = drawn_predictions(num_classes, n=200)
    predicted = probabilities.argmax(axis=1)
    naive = resampled_metrics(labels, predicted, num_classes, resamples=1000)
    actual = evaluate_predictions(probabilities, labels, NAMES[:num_classes]).intervals
    for metric, ends in actual.items():
        expected = np.percentile(naive[metric], [2.5, 97.5])
        tolerance = 4 * 0.12 * naive[metric].std()
        np.testing.assert_allclose(ends, expected, atol=tolerance, rtol=0)
