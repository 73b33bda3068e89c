"""Metrics against hand-worked cases, loops and laws."""

import json
import math

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from mvcn.errors import MvcnError, format_table
from mvcn.evaluation.metrics import (
    evaluate_groups,
    evaluate_predictions,
    format_evaluation,
)

POLARITIES = ["positive", "neutral", "negative"]
INTERVAL_METRICS = ["accuracy", "f1_weighted", "f1_macro"]


def certain(predicted, num_classes):
    """Probabilities that put 0.8 on the predicted class and share the rest."""
    others = 0.2 / (num_classes - 1)
    return (
        np.full((len(predicted), num_classes), others)
        + (0.8 - others) * np.eye(num_classes)[predicted]
    )


def drawn_predictions(seed, n, num_classes):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(num_classes), n)
    labels = np.array([generator.choice(num_classes, p=row) for row in probabilities])
    return probabilities, labels


@st.composite
def predictions(draw):
    """Probabilities without ties, labels and the number of classes."""
    seed, n = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 40))
    num_classes = draw(st.integers(2, 5))
    return *drawn_predictions(seed, n, num_classes), num_classes


def names(num_classes):
    return [f"class {k}" for k in range(num_classes)]


@pytest.fixture
def evaluation():
    """Six posts: 3 positive (2 right), 1 neutral (right), 2 negative (1 right)."""
    labels, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 2])
    return evaluate_predictions(certain(predicted, 3), labels, POLARITIES)


def test_counts_truth_in_rows_and_predictions_in_columns(evaluation):
    assert evaluation.n == 6
    assert evaluation.confusion_matrix == ((2, 1, 0), (0, 1, 0), (1, 0, 1))


def test_class_scores_equal_the_hand_worked_ones(evaluation):
    positive, neutral, negative = (evaluation.per_class[name] for name in POLARITIES)
    # positive: 2 of 3 predicted and 2 of 3 true ones are right, so P = R = F1 = 2/3.
    assert (positive.precision, positive.recall, positive.support) == (2 / 3, 2 / 3, 3)
    assert positive.f1 == pytest.approx(2 / 3, abs=1e-12)
    # neutral: 1 of 2 predicted, 1 of 1 true; negative: 1 of 1 predicted, 1 of 2 true. F1 = 2/3.
    assert (neutral.precision, neutral.recall, neutral.support) == (1 / 2, 1, 1)
    assert (negative.precision, negative.recall, negative.support) == (1, 1 / 2, 2)
    assert neutral.f1 == negative.f1 == pytest.approx(2 / 3, abs=1e-12)


def test_averages_equal_the_hand_worked_ones(evaluation):
    assert evaluation.accuracy == pytest.approx(4 / 6, abs=1e-12)
    assert evaluation.f1_macro == pytest.approx(2 / 3, abs=1e-12)
    assert evaluation.f1_weighted == pytest.approx((3 * 2 + 1 * 2 + 2 * 2) / 3 / 6, abs=1e-12)
    # Every post has 0.8 on its prediction, and 4 of 6 are right: |4/6 - 0.8|.
    assert evaluation.expected_calibration_error == pytest.approx(0.8 - 4 / 6, abs=1e-12)
    # The label has 0.8 where the prediction is right, 0.1 where it is wrong.
    nll = -(4 * math.log(0.8) + 2 * math.log(0.1)) / 6
    assert evaluation.negative_log_likelihood == pytest.approx(nll, abs=1e-12)


def test_binary_f1_is_that_of_the_second_class():
    labels, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 0, 1, 0])
    evaluation = evaluate_predictions(certain(predicted, 2), labels, ["plain", "sarcastic"])
    # plain: P = R = 2/3; sarcastic: 1 of 2 predicted, 1 of 2 true, so F1 = 1/2.
    assert evaluation.f1_binary == 1 / 2
    assert evaluation.to_mapping()["f1_binary"] == 1 / 2


def test_binary_f1_is_absent_with_three_classes(evaluation):
    assert evaluation.f1_binary is None
    assert "f1_binary" not in evaluation.to_mapping()
    assert "f1_binary" not in evaluation.intervals


def test_a_class_without_posts_counts_as_zero_in_macro_f1_alone():
    labels = predicted = np.array([0, 0, 2])
    evaluation = evaluate_predictions(certain(predicted, 3), labels, POLARITIES)
    assert evaluation.accuracy == evaluation.f1_weighted == 1
    assert evaluation.f1_macro == pytest.approx((1 + 0 + 1) / 3, abs=1e-12)
    assert evaluation.per_class["neutral"].support == 0


def test_counts_are_whole_numbers_when_every_prediction_is_wrong():
    evaluation = evaluate_predictions(certain([1, 1], 2), np.array([0, 0]), ["no", "yes"])
    assert [repr(scores.support) for scores in evaluation.per_class.values()] == ["2", "0"]


def test_equal_probabilities_predict_the_first_class():
    evaluation = evaluate_predictions(np.full((1, 3), 1 / 3), np.array([0]), POLARITIES)
    assert evaluation.accuracy == 1


def test_certainty_of_a_wrong_class_has_a_finite_likelihood():
    evaluation = evaluate_predictions(np.array([[1.0, 0.0]]), np.array([1]), ["no", "yes"])
    assert evaluation.negative_log_likelihood == pytest.approx(-math.log(2.0**-52), abs=1e-9)


@pytest.mark.parametrize("n", [1, 17, 500])
def test_calibration_error_equals_a_loop_over_bins(n):
    probabilities, labels = drawn_predictions(n, n, 3)
    expected = 0.0
    for m in range(15):
        members = [i for i in range(n) if m / 15 < max(probabilities[i]) <= (m + 1) / 15]
        if members:
            accuracy = sum(probabilities[i].argmax() == labels[i] for i in members) / len(members)
            confidence = sum(max(probabilities[i]) for i in members) / len(members)
            expected += len(members) / n * abs(accuracy - confidence)
    actual = evaluate_predictions(probabilities, labels, POLARITIES).expected_calibration_error
    assert actual == pytest.approx(expected, abs=1e-12)


def test_calibration_bins_include_their_upper_edge():
    # 0.6 = 9/15 closes the bin (8/15, 9/15], which holds 0.55 too: one right, one wrong post.
    # One bin: |1 - (0.6 + 0.55)| / 2. Two bins would give (|1 - 0.6| + |0 - 0.55|) / 2.
    probabilities = np.array([[0.6, 0.4], [0.55, 0.45]])
    evaluation = evaluate_predictions(probabilities, np.array([0, 1]), ["no", "yes"])
    assert evaluation.expected_calibration_error == pytest.approx(0.075, abs=1e-12)


@settings(max_examples=25)
@given(predictions(), st.randoms(use_true_random=False))
def test_order_of_posts_does_not_matter(drawn, random):
    probabilities, labels, num_classes = drawn
    order = random.sample(range(len(labels)), len(labels))
    before = evaluate_predictions(probabilities, labels, names(num_classes))
    after = evaluate_predictions(probabilities[order], labels[order], names(num_classes))
    assert (after.per_class, after.confusion_matrix) == (before.per_class, before.confusion_matrix)
    assert after.intervals == before.intervals
    for metric in ("expected_calibration_error", "negative_log_likelihood"):
        assert getattr(after, metric) == pytest.approx(getattr(before, metric), abs=1e-12)


@settings(max_examples=25)
@given(predictions(), st.randoms(use_true_random=False))
def test_numbering_of_classes_does_not_matter(drawn, random):
    probabilities, labels, num_classes = drawn
    order = np.array(random.sample(range(num_classes), num_classes))
    renumbered = np.argsort(order)[labels]
    before = evaluate_predictions(probabilities, labels, names(num_classes)).to_mapping()
    after = evaluate_predictions(
        probabilities[:, order], renumbered, [names(num_classes)[k] for k in order]
    ).to_mapping()
    assert after["per_class"] == before["per_class"]
    for metric in (*INTERVAL_METRICS, "expected_calibration_error", "negative_log_likelihood"):
        assert after[metric] == pytest.approx(before[metric], abs=1e-12)


@settings(max_examples=25)
@given(predictions())
def test_calibration_error_is_at_least_the_overall_gap(drawn):
    # Triangle inequality: |sum of the bins' gaps| <= sum of |the bins' gaps| <= 1.
    probabilities, labels, num_classes = drawn
    evaluation = evaluate_predictions(probabilities, labels, names(num_classes))
    gap = abs(evaluation.accuracy - probabilities.max(axis=1).mean())
    assert gap - 1e-12 <= evaluation.expected_calibration_error <= 1


@settings(max_examples=25)
@given(predictions())
def test_intervals_are_ordered_and_within_zero_and_one(drawn):
    probabilities, labels, num_classes = drawn
    evaluation = evaluate_predictions(probabilities, labels, names(num_classes))
    expected = [*INTERVAL_METRICS, *(["f1_binary"] if num_classes == 2 else [])]
    assert list(evaluation.intervals) == expected
    assert all(0 <= low <= high <= 1 for low, high in evaluation.intervals.values())


def test_interval_of_faultless_predictions_has_no_width():
    labels = np.arange(3).repeat(200)
    evaluation = evaluate_predictions(certain(labels, 3), labels, POLARITIES)
    assert all(ends == (1, 1) for ends in evaluation.intervals.values())


def test_interval_of_accuracy_is_that_of_the_binomial():
    # The resampled number of right posts is binomial. The end of an interval is a quantile of
    # 1000 draws, with standard error sqrt(0.025 * 0.975 / 1000) / density = 0.085 standard
    # deviations of accuracy; 4 of these, and half a post for the steps of the binomial.
    probabilities, labels = drawn_predictions(3, 450, 3)
    evaluation = evaluate_predictions(probabilities, labels, POLARITIES)
    share, n = evaluation.accuracy, evaluation.n
    exact = binom.ppf([0.025, 0.975], n, share) / n
    tolerance = 4 * 0.085 * math.sqrt(share * (1 - share) / n) + 0.5 / n
    np.testing.assert_allclose(evaluation.intervals["accuracy"], exact, atol=tolerance, rtol=0)


def test_the_same_predictions_get_the_same_evaluation():
    probabilities, labels = drawn_predictions(4, 100, 3)
    first, second = (evaluate_predictions(probabilities, labels, POLARITIES) for _ in range(2))
    assert first == second


def test_leaves_its_input_as_it_was():
    probabilities, labels = drawn_predictions(5, 20, 3)
    copy = probabilities.copy()
    evaluate_predictions(probabilities, labels, POLARITIES)
    np.testing.assert_array_equal(probabilities, copy)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_takes_the_rounding_of_lower_precision(dtype):
    probabilities, labels = drawn_predictions(6, 200, 3)
    evaluation = evaluate_predictions(probabilities.astype(dtype), labels, POLARITIES)
    expected = evaluate_predictions(probabilities, labels, POLARITIES)
    assert evaluation.accuracy == pytest.approx(expected.accuracy, abs=1 / 200)


def test_mapping_survives_json(evaluation):
    mapping = evaluation.to_mapping()
    assert json.loads(json.dumps(mapping, allow_nan=False)) == mapping
    assert mapping["intervals"]["accuracy"] == list(evaluation.intervals["accuracy"])


def test_table_shows_what_was_measured(evaluation):
    table = format_evaluation(evaluation)
    low, high = (f"{100 * end:.1f}" for end in evaluation.intervals["accuracy"])
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["6", "posts"]
    assert ["accuracy", "66.7", low, "to", high] in lines
    assert ["neutral", "50.0", "100.0", "66.7", "1"] in lines
    assert ["negative", "1", "0", "1"] in lines
    assert "binary" not in table
    assert "F1 of" not in table


def test_table_names_the_positive_class_of_two():
    evaluation = evaluate_predictions(certain(np.array([1]), 2), np.array([1]), ["no", "ironic"])
    assert "F1 of 'ironic'" in format_evaluation(evaluation)


def test_table_lines_up(evaluation):
    blocks = format_evaluation(evaluation).split("\n\n")[2:]
    for block in blocks:
        assert len({len(line) for line in block.splitlines()}) == 1


GOOD = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (GOOD[:0], [], "no posts"),
        (GOOD * [1, math.nan, 1], [0, 1], "post number 0 .* from 0 to 1"),
        (np.array([GOOD[0], [math.inf, 0, 0]]), [0, 1], "post number 1 .* from 0 to 1"),
        (np.array([GOOD[0], [1.5, -0.5, 0]]), [0, 1], "post number 1 .* from 0 to 1"),
        (np.array([GOOD[0], [0.5, 0.3, 0.1]]), [0, 1], "post number 1 .* sum to 0.9, .* logits"),
        (GOOD, [0, 3], "label of post number 1 .* is 3, .* from 0 to 2"),
        (GOOD, [-1, 0], "label of post number 0 .* is -1"),
    ],
)
def test_refuses_what_is_no_prediction(probabilities, labels, message):
    with pytest.raises(MvcnError, match=message):
        evaluate_predictions(probabilities, np.array(labels, dtype=int), POLARITIES)


@pytest.mark.parametrize(
    ("class_names", "shown"), [([], "none"), (["a"], "a"), (["a", "b", "a"], "a, b, a")]
)
def test_refuses_class_names_that_do_not_tell_apart(class_names, shown):
    with pytest.raises(MvcnError, match=f"different names, not {shown}"):
        evaluate_predictions(GOOD, np.array([0, 1]), class_names)


@pytest.fixture
def without_shape_checks():
    """The annotations check nothing outside the tests; then the messages have to."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [(GOOD, [0]), (GOOD[0], [0, 1]), (GOOD[:, :2], [0, 1]), (GOOD, [[0], [1]]), (GOOD, 0)],
)
def test_refuses_shapes_that_do_not_fit(probabilities, labels):
    with pytest.raises(MvcnError, match="one label and 3 probabilities per post"):
        evaluate_predictions(probabilities, np.array(labels), POLARITIES)


def test_groups_are_evaluated_as_if_they_were_alone():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([1, 1, 1], 30)
    labels, groups = generator.integers(0, 3, 30), ["many"] * 20 + ["few"] * 10
    found = evaluate_groups(probabilities, labels, groups, ("a", "b", "c"))
    assert list(found) == ["many", "few"]
    assert found["many"] == evaluate_predictions(probabilities[:20], labels[:20], ("a", "b", "c"))
    assert found["few"] == evaluate_predictions(probabilities[20:], labels[20:], ("a", "b", "c"))


def test_a_single_group_is_not_evaluated_twice():
    assert evaluate_groups(np.eye(2), np.array([0, 1]), ["all", "all"], ("a", "b")) == {}


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("setting", "best"), ("a", "0.25"), ("long name", "1")]
    assert format_table(rows) == "setting    best\na          0.25\nlong name  1"
    assert format_table(rows, are_numbers=True) == (
        "setting    best\na          0.25\nlong name     1"
    )
