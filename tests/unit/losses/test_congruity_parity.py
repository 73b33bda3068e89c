"""The constraint against its plain definition in double precision, for values and gradients."""

import pytest
import torch

from mvcn.errors import MvcnError
from mvcn.losses import SemanticCongruityLoss, congruity_loss, squared_distances
from tests.unit.losses.test_queue import LargestResult

pytestmark = pytest.mark.usefixtures("code")

BATCH, DIM, SIZE = 16, 24, 60
FORMS = ["ratio", "share", "absolute"]
CLASSES = [1, 2, 3, 30]
"""Classes present; there are ten more without any post."""
POSITIONS = {
    "near 0": (0.0, 1.0),
    "far away": (1e3, 1.0),
    "small": (0.0, 1e-6),
    "large": (0.0, 1e6),
}
positions = pytest.mark.parametrize(("offset", "scale"), POSITIONS.values(), ids=POSITIONS.keys())


def posts(count, classes, offset, scale, seed):
    """Return features in float32 around one place per class, and classes."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(60, DIM, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(classes, (count,), generator=generator)
    return (places[labels] + torch.randn(count, DIM, generator=generator)) * scale + offset, labels


def definition(features, labels, stored, stored_labels, form, least=1):
    """Return the loss and the gradient, by sums over classes of the means of stored posts."""
    z = features.detach().double().requires_grad_()
    present = [k for k in range(60) if (stored_labels == k).sum() >= least]
    means = {k: stored[stored_labels == k].double().mean(0) for k in present}
    terms = []
    for row, y in zip(z, labels.tolist(), strict=True):
        distances = {k: (row - mean).square().sum() for k, mean in means.items()}
        others = [distance for k, distance in distances.items() if k != y]
        if y not in distances or (form != "absolute" and not others):
            continue
        reference = {
            "ratio": lambda others=others: sum(others) / len(others),
            "share": lambda distances=distances: sum(distances.values()),
            "absolute": lambda: 1,
        }[form]()
        terms.append(distances[y] / reference)
    loss = sum(terms) / len(terms) if terms else 0 * z.sum()
    (gradient,) = torch.autograd.grad(loss, z)
    return loss, gradient


def assert_equal(loss, gradient, expected):
    """Compare to 1e-6 of the value, and of the largest gradient of each post."""
    torch.testing.assert_close(loss.double(), expected[0].detach(), rtol=1e-6, atol=0)
    largest = expected[1].abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    error = (gradient.double() - expected[1]).abs() / largest
    assert error.max() < 1e-6


@positions
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batches", [2, 3, 5, 23], ids="{} batches before".format)
def test_the_loss_with_its_queue(form, classes, offset, scale, batches):
    constraint = SemanticCongruityLoss(60, DIM, SIZE, form, min_samples_per_class=2)
    for seed in range(batches):
        constraint.queue.enqueue(*posts(BATCH, classes, offset, scale, seed))
    features, labels = posts(BATCH, classes, offset, scale, seed=100)
    least = 1 if batches * BATCH >= SIZE else 2
    stored = constraint.queue.features, constraint.queue.labels
    expected = definition(features, labels, *stored, form, least)
    loss = constraint.eval()(features.requires_grad_(), labels)
    loss.backward()
    assert_equal(loss.detach(), features.grad, expected)
    assert (expected[0] > 0) == (classes > 1 or form == "absolute")


@positions
@pytest.mark.parametrize("form", FORMS)
def test_a_post_near_all_other_centroids(form, offset, scale):
    """The own centroid is then nearly all of the scatter, which is subtracted again."""
    generator = torch.Generator().manual_seed(0)
    stored = torch.randn(SIZE, DIM, generator=generator) * 0.01
    stored_labels = torch.arange(SIZE) % 6
    stored[stored_labels == 0] += 3
    stored = stored * scale + offset
    constraint = SemanticCongruityLoss(60, DIM, SIZE, form)
    constraint.queue.enqueue(stored, stored_labels)
    features, labels = stored[1:4].clone(), torch.zeros(3, dtype=torch.int64)
    expected = definition(features, labels, stored, stored_labels, form)
    loss = constraint(features.requires_grad_(), labels)
    loss.backward()
    assert form != "ratio" or expected[0] > 1e4
    assert_equal(loss.detach(), features.grad, expected)


@positions
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("form", FORMS)
def test_the_loss_of_given_centroids(form, classes, offset, scale):
    stored, _ = posts(60, 60, offset, scale, seed=1)
    counts = (torch.arange(60) < classes).long()
    stored_labels = torch.where(counts > 0, torch.arange(60), -1)
    features, labels = posts(BATCH, classes, offset, scale, seed=100)
    expected = definition(features, labels, stored, stored_labels, form)
    loss = congruity_loss(features.requires_grad_(), labels, stored, counts, form)
    loss.backward()
    assert_equal(loss.detach(), features.grad, expected)


@positions
def test_distances_to_all_centroids(offset, scale):
    features, _ = posts(BATCH, 60, offset, scale, seed=1)
    centroids, _ = posts(50, 60, offset, scale, seed=2)
    expected = (features.double().unsqueeze(1) - centroids.double()).square().sum(-1)
    actual = squared_distances(features, centroids)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=0)


def test_a_step_holds_nothing_of_the_length_of_the_classes():
    constraint = SemanticCongruityLoss(5000, DIM, SIZE)
    with LargestResult() as largest:
        for seed in range(SIZE // BATCH):  # within a lap
            features, labels = posts(BATCH, 60, 0.0, 1.0, seed)
            constraint(features.requires_grad_(), labels).backward()
    assert BATCH * DIM <= largest.elements <= 4 * BATCH * DIM


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("label", [-1, 60, 10**9])
def test_a_post_of_no_class_does_not_contribute(form, label):
    features, labels = posts(BATCH, 3, 0.0, 1.0, seed=1)
    centroids, counts = posts(60, 60, 0.0, 1.0, seed=2)[0], torch.ones(60).long()
    expected = congruity_loss(features[1:], labels[1:], centroids, counts, form)
    labels[0] = label
    assert congruity_loss(features, labels, centroids, counts, form) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_and_labels_may_be_slices_of_others(dtype):
    features, labels = posts(BATCH, 3, 0.0, 1.0, seed=1)
    wide = torch.stack([features.to(dtype)] * 2, 2)
    losses = []
    for rows, classes in ((features.to(dtype), labels), (wide[..., 1], labels.repeat(2)[::1])):
        constraint = SemanticCongruityLoss(60, DIM, SIZE, min_samples_per_class=1)
        for _ in range(2):
            loss = constraint(rows, classes[:BATCH])
        losses.append(loss.item())
    assert losses[0] == losses[1] > 0


def test_second_derivatives_are_refused():
    features, labels = posts(BATCH, 3, 0.0, 1.0, seed=1)
    centroids, _ = posts(60, 60, 0.0, 1.0, seed=2)
    loss = congruity_loss(features.requires_grad_(), labels, centroids, torch.ones(60).long())
    with pytest.raises(MvcnError, match="no second derivatives"):
        torch.autograd.grad(loss, features, create_graph=True)
