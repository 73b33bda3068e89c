"""Contrasts between posts against sums written out by hand."""

import math

import pytest
import torch

from mvcn.config import ObjectiveConfig
from mvcn.errors import ConfigError
from mvcn.losses import Objective
from mvcn.losses.contrast import data_contrast, label_contrast

FORMS = ("corrected", "faithful")
LABELS = torch.tensor([0, 1, 0, 2, 1])


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def length_one(row):
    return row / math.sqrt((row**2).sum().item())


@pytest.mark.parametrize("form", FORMS)
def test_data_contrast_is_the_written_sum(form):
    views, tau = draw(2, 5, 3), 0.3
    rows = views if form == "faithful" else [[length_one(row) for row in view] for view in views]
    expected = 0.0
    for i in range(5):
        likeness = [math.exp((rows[0][i] @ rows[1][j]).item() / tau) for j in range(5)]
        expected -= math.log(likeness[i] / sum(likeness)) / 5
    assert data_contrast(views, tau, form).item() == pytest.approx(expected, rel=1e-9)


def test_label_contrast_is_the_written_sum():
    features, tau = draw(5, 3), 0.3
    rows = [length_one(row) for row in features]
    terms = []
    for i in range(5):
        likeness = {j: math.exp((rows[i] @ rows[j]).item() / tau) for j in range(5) if j != i}
        terms += [
            -math.log(likeness[j] / sum(likeness.values()))
            for j in likeness
            if LABELS[i] == LABELS[j]
        ]
    assert len(terms) == 4
    found = label_contrast(features, LABELS, tau)
    assert found.item() == pytest.approx(sum(terms) / 4, rel=1e-9)


def test_faithful_label_contrast_has_each_post_a_pair_with_itself():
    features, tau, terms = draw(5, 3), 0.3, []
    for i in range(5):
        likeness = [math.exp((features[i] @ features[j]).item()) for j in range(5)]
        same = [j for j in range(5) if LABELS[i] == LABELS[j]]
        terms += [-math.log(likeness[j] / sum(likeness)) / tau for j in same]
    assert len(terms) == 9
    found = label_contrast(features, LABELS, tau, "faithful")
    assert found.item() == pytest.approx(sum(terms) / 9, rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_temperature_of_faithful_labels_is_a_factor_and_no_more(form):
    features = draw(5, 3)
    one, other = (label_contrast(features, LABELS, tau, form) for tau in (0.1, 0.2))
    assert torch.isclose(one, 2 * other).item() == (form == "faithful")


@pytest.mark.parametrize("size", [1, 3])
def test_posts_of_different_labels_have_no_contrast_of_labels(size):
    features = draw(size, 3).requires_grad_()
    loss = label_contrast(features, torch.arange(size), 0.1)
    loss.backward()
    assert loss == 0
    assert not features.grad.any()


def test_corrected_contrasts_do_not_depend_on_length():
    views = draw(2, 5, 3)
    assert torch.isclose(data_contrast(views, 0.3), data_contrast(7 * views, 0.3))
    found = [label_contrast(size * views[0], LABELS, 0.3) for size in (1, 7)]
    assert torch.isclose(*found)


def test_posts_that_agree_with_their_label_cost_less():
    together = torch.eye(3)[LABELS]
    apart = torch.eye(3)[LABELS.roll(1)]
    for form in FORMS:
        assert label_contrast(together, LABELS, 0.3, form) < label_contrast(
            apart, LABELS, 0.3, form
        )


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"label_contrast_weight": 1.0}, "has no views"),
        ({"data_contrast_weight": 1.0}, "has no views"),
        ({"penalty_weight": 1.0}, "has no penalty"),
    ],
)
def test_a_model_without_what_is_weighed_is_an_error(settings, what):
    from mvcn.losses import Targets
    from mvcn.models.network import MvcnOutput

    labels = torch.tensor([0, 1])
    output = MvcnOutput(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 3))
    objective = Objective(ObjectiveConfig(**settings), ("a", "b", "c"), 4)
    with pytest.raises(ConfigError, match=what):
        objective(output, Targets(labels, labels, labels))
    objective.eval()(output, Targets(labels, labels, labels))  # there is none in evaluation
