"""Temperatures recover what is known."""

import math

import numpy as np
import pytest
from scipy.special import softmax

from mvcn.evaluation.calibration import calibrate, fit_temperature


def drawn(temperature, n=20_000, seed=0):
    """Logits whose classes were drawn at a temperature."""
    generator = np.random.default_rng(seed)
    logits = 3 * generator.standard_normal((n, 3))
    cumulated = softmax(logits / temperature, axis=1).cumsum(axis=1)
    labels = (generator.random((n, 1)) > cumulated).sum(axis=1)
    return logits, labels.clip(max=2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_classes_were_drawn_at_is_found(temperature):
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.03)


def test_two_classes_have_a_temperature_in_closed_form():
    """Of posts with one distance d of logits, 9 of 10 right: d / T = log(9)."""
    labels = np.array([0] * 900_000 + [1] * 100_000)
    logits = np.tile([4.0, 0.0], (1_000_000, 1))
    assert fit_temperature(logits, labels) == pytest.approx(4 / math.log(9), rel=1e-3)


def test_the_scale_of_logits_does_not_matter():
    logits, labels = drawn(1.5)
    assert fit_temperature(7 * logits, labels) == pytest.approx(
        7 * fit_temperature(logits, labels), rel=1e-2
    )


@pytest.mark.parametrize("right", [True, False])
def test_two_posts_do_not_make_it_extreme(right):
    logits = np.array([[5.0, 0.0], [0.0, 5.0]])
    temperature = fit_temperature(logits, np.array([0, 1] if right else [1, 0]))
    assert 0.3 < temperature < 1 if right else 1 < temperature < 20


def test_one_post_has_a_temperature():
    calibration = calibrate(np.array([[1.0, 0.0]]), np.array([0]))
    assert 0 < calibration.temperature < 1
    assert calibration.error_before == calibration.error_after  # the other half is empty


def test_a_model_too_sure_of_itself_is_fixed():
    logits, labels = drawn(1.0, n=2000)
    calibration = calibrate(4 * logits, labels)
    assert calibration.temperature == pytest.approx(4, rel=0.1)
    assert calibration.error_before > 3 * calibration.error_after
    assert calibration.likelihood_before > calibration.likelihood_after


def test_its_gain_is_measured_on_posts_that_it_was_not_fitted_on():
    """The halves ask for opposite temperatures, so each one's is wrong for the other."""
    logits = np.tile([3.0, 0.0], (400, 1))
    labels = np.arange(400) % 2  # even posts all right, odd ones all wrong
    calibration = calibrate(logits, labels)
    assert calibration.likelihood_after > calibration.likelihood_before
