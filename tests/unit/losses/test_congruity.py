"""The congruity constraint against NumPy loops over the formulas of its docstring."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvcn.losses.congruity import EPSILON, batch_centroids, congruity_loss, squared_distances

FORMS = ["ratio", "share", "absolute"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw(counts, batch=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(counts), (batch,), generator=generator)
    return normal(batch, 5, seed=seed), labels, normal(len(counts), 5, seed=seed + 1)


def reference(features, labels, centroids, counts, form):
    """Sum over posts and classes one by one; None where no post contributes."""
    terms = []
    for z, y in zip(features, labels, strict=True):
        distance = {k: np.sum((z - c) ** 2) for k, c in enumerate(centroids) if counts[k] > 0}
        others = [distance[k] for k in distance if k != y]
        if y not in distance or (form != "absolute" and not others):
            continue
        if form == "ratio":
            terms.append(distance[y] / (np.mean(others) + EPSILON))
        elif form == "share":
            terms.append(distance[y] / (distance[y] + np.sum(others) + EPSILON))
        else:
            terms.append(distance[y])
    return np.mean(terms) if terms else None


@pytest.mark.parametrize("form", FORMS)
@given(counts=st.lists(st.sampled_from([0, 1, 7]), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_agrees_with_loops_over_posts_and_known_classes(form, counts, seed):
    features, labels, centroids = draw(counts, seed=seed)
    expected = reference(features.numpy(), labels.tolist(), centroids.numpy(), counts, form)
    actual = congruity_loss(features, labels, centroids, torch.tensor(counts), form)
    assert actual.item() == pytest.approx(expected or 0.0, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # Distances of (1, 0) to (0, 0), (3, 0), (1, 4): 1, 4, 16; of (3, 1): 10, 1, 13.
        ("ratio", (1 / ((4 + 16) / 2) + 1 / ((10 + 13) / 2)) / 2),
        ("share", (1 / (1 + 4 + 16) + 1 / (10 + 1 + 13)) / 2),
        ("absolute", (1 + 1) / 2),
    ],
)
def test_hand_worked_posts(form, expected):
    features = torch.tensor([[1.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    centroids = torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.0, 4.0]], dtype=torch.float64)
    loss = congruity_loss(features, torch.tensor([0, 1]), centroids, torch.tensor([2, 2, 2]), form)
    assert loss.item() == pytest.approx(expected, rel=1e-6)  # EPSILON is 1e-7 of the reference


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("counts", [[2, 3, 4], [2, 0, 4]])
def test_gradient_matches_finite_differences(form, counts):
    features, labels, centroids = draw(counts)
    counts = torch.tensor(counts)
    assert torch.autograd.gradcheck(
        lambda z: congruity_loss(z, labels, centroids, counts, form), features.requires_grad_()
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("counts", [[0, 0, 0], [0, 5, 0]])
def test_posts_without_anything_to_compare_give_zero_and_zero_gradient(form, counts):
    features, _, _ = draw(counts)
    labels = torch.zeros(6, dtype=torch.int64)
    centroids = torch.zeros(3, 5, dtype=torch.float64)
    loss = congruity_loss(features.requires_grad_(), labels, centroids, torch.tensor(counts), form)
    loss.backward()
    assert loss.item() == 0
    assert (features.grad == 0).all()


@pytest.mark.parametrize(("form", "expected"), [("ratio", 0), ("share", 0), ("absolute", 1)])
def test_relative_forms_need_another_class(form, expected):
    features, centroids = torch.tensor([[1.0, 0.0]]), torch.zeros(2, 2)
    loss = congruity_loss(features, torch.tensor([0]), centroids, torch.tensor([3, 0]), form)
    assert loss.item() == expected


@pytest.mark.parametrize("form", ["ratio", "share"])
def test_relative_forms_ignore_a_common_scale_and_the_absolute_does_not(form):
    features, labels, centroids = draw([1, 1, 1])
    counts = torch.ones(3, dtype=torch.int64)
    one = congruity_loss(features, labels, centroids, counts, form)
    scaled = congruity_loss(features * 7, labels, centroids * 7, counts, form)
    torch.testing.assert_close(one, scaled, atol=0, rtol=1e-5)
    absolute = congruity_loss(features, labels, centroids, counts, "absolute")
    scaled = congruity_loss(features * 7, labels, centroids * 7, counts, "absolute")
    torch.testing.assert_close(scaled, absolute * 49, atol=0, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_is_zero_on_the_own_centroid_and_falls_towards_it(form):
    _, labels, centroids = draw([1, 1, 1])
    counts, away = torch.ones(3, dtype=torch.int64), normal(6, 5, seed=5)
    losses = [
        congruity_loss(centroids[labels] + step * away, labels, centroids, counts, form).item()
        for step in (0.0, 0.1, 0.2, 0.3)
    ]
    assert losses[0] == 0
    assert losses == sorted(losses)


def test_share_is_at_most_one():
    _, labels, centroids = draw([1, 1, 1])
    far = centroids[(labels + 1) % 3]
    loss = congruity_loss(far, labels, centroids, torch.tensor([1, 1, 1]), "share")
    assert 0 < loss.item() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_computed_in_float32(dtype, form):
    features, labels, centroids = draw([1, 1, 1])
    features, centroids, counts = features.to(dtype), centroids.float(), torch.tensor([1, 1, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = congruity_loss(features, labels, centroids, counts, form)
    expected = congruity_loss(features.float(), labels, centroids, counts, form)
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)


def test_squared_distances_are_sums_of_squares():
    features, centroids = normal(4, 5), normal(3, 5, seed=1)
    expected = [[((z - c) @ (z - c)).item() for c in centroids] for z in features]
    actual = squared_distances(features, centroids)
    torch.testing.assert_close(actual, torch.tensor(expected).double(), atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(actual.numpy(), np.array(expected), atol=0, rtol=1e-12)


def test_batch_centroids_are_class_means_without_gradient():
    features = normal(5, 4).float().requires_grad_()
    labels = torch.tensor([0, 2, 0, 2, 2])
    centroids, counts = batch_centroids(features, labels, 4)
    rows = features.detach().numpy().astype(np.float64)
    expected = np.stack([rows[[0, 2]].mean(0), np.zeros(4), rows[[1, 3, 4]].mean(0), np.zeros(4)])
    np.testing.assert_allclose(centroids.numpy(), expected, atol=1e-7, rtol=0)
    assert counts.tolist() == [2, 0, 3, 0]
    assert not centroids.requires_grad


def test_a_post_alone_in_its_class_is_not_pulled_by_batch_centroids():
    features = normal(3, 4).float().requires_grad_()
    labels = torch.tensor([0, 1, 1])
    congruity_loss(features, labels, *batch_centroids(features, labels, 2), "ratio").backward()
    assert (features.grad[0] == 0).all()
    assert (features.grad[1:] != 0).all()
