"""The congruity constraint against NumPy loops over the formulas of its docstring."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvcn.losses.congruity import congruity_loss, congruity_mean, squared_distances
from mvcn.losses.queue import batch_centroids, compare

pytestmark = pytest.mark.usefixtures("code")

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
            terms.append(distance[y] / np.mean(others))
        elif form == "share":
            terms.append(distance[y] / (distance[y] + np.sum(others)))
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
    assert loss.item() == pytest.approx(expected, rel=1e-12)


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


SCALES = [
    *((torch.float32, 10.0**exponent) for exponent in range(-6, 7, 2)),
    *((torch.float64, 10.0**exponent) for exponent in range(-30, 31, 10)),
]


@pytest.mark.parametrize(("dtype", "scale"), SCALES)
@pytest.mark.parametrize("form", FORMS)
def test_is_the_formula_at_every_scale(form, dtype, scale):
    features, labels, centroids = draw([1, 1, 1])
    counts, unit = torch.ones(3, dtype=torch.int64), scale**2 if form == "absolute" else 1
    expected = reference(features.numpy(), labels.tolist(), centroids.numpy(), counts, form)
    scaled = (features * scale).to(dtype).requires_grad_()
    loss = congruity_loss(scaled, labels, (centroids * scale).to(dtype), counts, form)
    tolerance = 10 * torch.finfo(dtype).eps
    assert loss.item() == pytest.approx(expected * unit, rel=tolerance)
    loss.backward()
    plain = features.requires_grad_()
    congruity_loss(plain, labels, centroids, counts, form).backward()
    torch.testing.assert_close(
        scaled.grad.double() * scale / unit, plain.grad, rtol=1e-4, atol=tolerance
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_ratio_of_many_thousands_is_not_made_smaller(scale):
    # Squared distances of (99, 0) to (0, 0) and (100, 0): 9801 and 1.
    features, centroids = torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    counts = torch.tensor([1, 1])
    loss = congruity_loss(features * scale, torch.tensor([0]), centroids * scale, counts)
    assert loss.item() == pytest.approx(9801, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("form", FORMS)
def test_a_feature_on_all_centroids_costs_nothing(form, scale, dtype):
    features = torch.full((2, 5), scale).to(dtype).requires_grad_()
    centroids = features.detach()[:1].expand(3, 5)
    loss = congruity_loss(features, torch.tensor([0, 2]), centroids, torch.ones(3).long(), form)
    loss.backward()
    assert loss.item() == 0
    assert (features.grad == 0).all()


@pytest.mark.parametrize(("form", "expected"), [("ratio", 1), ("share", 1 / 3)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_centroids_that_coincide_are_equally_far(form, expected, scale):
    features, centroids = normal(4, 5).float() * scale, normal(1, 5, seed=1).expand(3, 5) * scale
    labels, counts = torch.tensor([0, 1, 2, 0]), torch.ones(3).long()
    loss = congruity_loss(features, labels, centroids.float(), counts, form)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_on_all_other_centroids_the_ratio_is_bounded_and_has_no_gradient(scale, dtype):
    centroids = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 0.0]], dtype=dtype) * scale
    features = centroids[1:2].clone().requires_grad_()
    loss = congruity_loss(features, torch.tensor([0]), centroids, torch.ones(3).long())
    loss.backward()
    assert loss.item() == pytest.approx(1 / torch.finfo(torch.float32).eps, rel=1e-6)
    # Of 1 / eps, the steps of rounding are 1.
    assert (features.grad * scale).abs().max() <= 1


@pytest.mark.parametrize("exponent", range(-44, 1, 2))
@pytest.mark.parametrize("away", range(-6, 7, 2))
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_finite_however_near_a_centroid_lies(form, away, exponent):
    near, far = 10.0**exponent, 10.0 ** (exponent + away)
    features = torch.zeros(2, 3, requires_grad=True)
    centroids = torch.tensor([[near, 0, 0], [0, far, 0]])
    congruity_loss(features, torch.tensor([0, 1]), centroids, torch.tensor([1, 1]), form).backward()
    assert features.grad.isfinite().all()


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


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_is_a_number_of_repeated_posts_in_the_mean(form):
    features, labels, centroids = draw([1, 1, 0], batch=6)
    times = torch.tensor([1, 2, 3, 1, 2, 4])

    def loss_and_gradient(repeats, weights):
        z, counts = features.clone().requires_grad_(), torch.tensor([1, 1, 0])
        comparison = compare(labels.repeat_interleave(repeats), centroids, counts)
        shown = z.repeat_interleave(repeats, 0)
        loss = congruity_mean(shown, comparison, form, weights=weights)
        return loss.detach(), *torch.autograd.grad(loss, z)

    found = loss_and_gradient(torch.ones_like(times), times.double())
    for one, other in zip(found, loss_and_gradient(times, None), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_share_is_at_most_one():
    _, labels, centroids = draw([1, 1, 1])
    far = centroids[(labels + 1) % 3]
    loss = congruity_loss(far, labels, centroids, torch.tensor([1, 1, 1]), "share")
    assert 0 < loss.item() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_computed_in_float32(form, scale, dtype):
    features, labels, centroids = draw([1, 1, 1])
    features = (features * scale).to(dtype).requires_grad_()
    centroids, counts = (centroids * scale).float(), torch.tensor([1, 1, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = congruity_loss(features, labels, centroids, counts, form)
    expected = congruity_loss(features.float(), labels, centroids, counts, form)
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)
    actual.backward()
    assert features.grad.isfinite().all()


def test_squared_distances_are_sums_of_squares():
    features, centroids = normal(4, 5), normal(3, 5, seed=1)
    expected = [[((z - c) @ (z - c)).item() for c in centroids] for z in features]
    actual = squared_distances(features, centroids)
    torch.testing.assert_close(actual, torch.tensor(expected).double(), atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(actual.numpy(), np.array(expected), atol=0, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_batch_centroids_are_class_means_without_gradient(scale, dtype):
    features = (normal(5, 4) * scale).to(dtype).requires_grad_()
    labels = torch.tensor([0, 2, 0, 2, 2])
    centroids, counts = batch_centroids(features, labels, 4)
    rows = features.detach().numpy().astype(np.float64)
    expected = np.stack([rows[[0, 2]].mean(0), np.zeros(4), rows[[1, 3, 4]].mean(0), np.zeros(4)])
    tolerance = 2 * torch.finfo(dtype).eps * scale
    np.testing.assert_allclose(centroids.numpy(), expected, atol=tolerance, rtol=0)
    assert counts.tolist() == [2, 0, 3, 0]
    assert not centroids.requires_grad


def test_a_post_alone_in_its_class_is_not_pulled_by_batch_centroids():
    features = normal(3, 4).float().requires_grad_()
    labels = torch.tensor([0, 1, 1])
    congruity_loss(features, labels, *batch_centroids(features, labels, 2), "ratio").backward()
    assert (features.grad[0] == 0).all()
    assert (features.grad[1:] != 0).all()
