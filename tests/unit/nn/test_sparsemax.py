"""Sparsemax against an exhaustive search that shares no code or algorithm with it."""

import sys
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvcn.nn.sparsemax import (
    CHUNK,
    _project_by_active_sets,
    _project_by_sorting,
    project_rows,
    row_library,
    sparsemax,
)

rows = st.lists(st.floats(-5, 5), min_size=1, max_size=6)
NO = float("-inf")


def nearest_on_simplex(row: list[float]) -> list[float]:
    """Try every support set; keep the feasible projection closest to `row`.

    In exact fractions: squared distances that differ by 1e-16 belong to points 1e-8 apart.
    """
    scores = [Fraction(score) for score in row]
    candidates = []
    for size in range(1, len(scores) + 1):
        for support in combinations(range(len(scores)), size):
            shift = (1 - sum(scores[i] for i in support)) / size
            point = [s + shift if i in support else Fraction(0) for i, s in enumerate(scores)]
            if min(point) >= 0:
                distance = sum((p - s) ** 2 for p, s in zip(point, scores, strict=True))
                candidates.append((distance, point))
    return [float(p) for p in min(candidates)[1]]


def project_by_active_sets(scores):
    out = torch.empty_like(scores)
    _project_by_active_sets(scores, out)
    return out


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def project_by_c_code(scores):
    library = row_library(scores.dtype)
    if library is None:
        pytest.skip("there is no C compiler")
    return project_rows(library, scores)


ALGORITHMS = [project_by_active_sets, _project_by_sorting, project_by_c_code, sparsemax]


@pytest.fixture(params=["torch", "C"])
def each_way(request, monkeypatch):
    """Let sparsemax compute everything by torch's operations, then everything by C code."""
    least = {"torch": 1 << 60, "C": 1}[request.param]
    monkeypatch.setattr(sys.modules["mvcn.nn.sparsemax"], "WORTH_COMPILING", least)
    if request.param == "C" and row_library(torch.float64) is None:
        pytest.skip("there is no C compiler")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(row=rows)
def test_is_the_euclidean_projection_onto_the_simplex(algorithm, row):
    expected = torch.tensor(nearest_on_simplex(row), dtype=torch.float64)
    actual = algorithm(torch.tensor([row], dtype=torch.float64))[0]
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=0)


@given(row=rows, shift=st.floats(-10, 10))
def test_ignores_a_constant_shift(row, shift):
    scores = torch.tensor(row, dtype=torch.float64)
    torch.testing.assert_close(sparsemax(scores + shift), sparsemax(scores), atol=1e-12, rtol=0)


@given(row=rows)
def test_leaves_a_point_of_the_simplex_where_it_is(row):
    point = sparsemax(torch.tensor(row, dtype=torch.float64))
    torch.testing.assert_close(sparsemax(point), point, atol=1e-12, rtol=0)


def test_a_score_just_above_the_threshold_keeps_its_small_weight():
    # Support {0, -2e-8, -0.5}: tau = -(1.5 + 2e-8) / 3; the third weight is tau below -0.5.
    weights = sparsemax(torch.tensor([0.0, -1.0, -0.5, -2e-8], dtype=torch.float64))
    assert weights[2].item() == pytest.approx(2e-8 / 3, rel=1e-6)


def test_hand_worked_row():
    # Support {1.0, 0.8}: tau = (1.8 - 1) / 2 = 0.4; 0.1 lies below it.
    torch.testing.assert_close(
        sparsemax(torch.tensor([0.1, 1.0, 0.8])), torch.tensor([0, 0.6, 0.4])
    )


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("algorithm", [project_by_active_sets, project_by_c_code])
def test_all_algorithms_agree_on_long_rows(algorithm, scale):
    scores = normal(300, 197) * scale
    torch.testing.assert_close(algorithm(scores), _project_by_sorting(scores), atol=1e-12, rtol=0)


def test_more_rows_than_one_chunk_are_all_projected(each_way):
    scores = normal(2 * CHUNK // 64 + 3, 64)
    torch.testing.assert_close(sparsemax(scores), _project_by_sorting(scores), atol=1e-12, rtol=0)


def test_a_row_longer_than_a_chunk_is_projected(each_way):
    scores = normal(2, CHUNK + 1) * 100
    torch.testing.assert_close(sparsemax(scores), _project_by_sorting(scores), atol=1e-12, rtol=0)


def test_ends_when_rounding_makes_scores_meet_the_threshold(each_way):
    # Near-equal scores, one float apart: supports could come and go by rounding alone.
    row = torch.full((64,), 0.3)
    for index in range(1, 64):
        row[index] = torch.nextafter(row[index - 1], torch.tensor(1.0))
    rotated = torch.stack([row.roll(k) - k for k in range(64)])
    torch.testing.assert_close(sparsemax(rotated).sum(-1), torch.ones(64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (1, 1)])
def test_gradient_matches_finite_differences(each_way, shape):
    assert torch.autograd.gradcheck(sparsemax, normal(*shape).requires_grad_())


def test_gradient_can_be_differentiated_once_more(each_way):
    assert torch.autograd.gradgradcheck(sparsemax, normal(3, 5).requires_grad_())


def test_gradient_with_a_mask_matches_finite_differences(each_way):
    mask = torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])
    assert torch.autograd.gradcheck(lambda s: sparsemax(s, mask), normal(3, 4).requires_grad_())


def test_gradient_is_the_jacobian_of_the_paper(each_way):
    # J = Diag(s) - s s^T / |S| with s the indicator of the support.
    scores = normal(9)
    support = (sparsemax(scores) > 0).double()
    expected = torch.diag(support) - torch.outer(support, support) / support.sum()
    jacobian = torch.autograd.functional.jacobian(sparsemax, scores)
    torch.testing.assert_close(jacobian, expected, atol=1e-12, rtol=0)


def test_masked_row_is_the_row_without_the_masked_scores():
    scores, keep = normal(5, 8), [0, 2, 3, 7]
    mask = torch.zeros(8, dtype=torch.bool)
    mask[keep] = True
    weights = sparsemax(scores, mask)
    assert (weights[:, ~mask] == 0).all()
    torch.testing.assert_close(weights[:, keep], sparsemax(scores[:, keep]), atol=1e-12, rtol=0)


def test_fully_masked_row_gives_zeros_and_no_gradient(each_way):
    scores = normal(2, 3, 4).requires_grad_()
    mask = torch.ones(2, 1, 4, dtype=torch.bool)
    mask[1] = False
    weights = sparsemax(scores, mask)
    (weights * normal(2, 3, 4, seed=1)).sum().backward()
    assert (weights[1] == 0).all()
    assert (scores.grad[1] == 0).all()
    torch.testing.assert_close(weights[0], sparsemax(scores[0]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("low", [NO, -1e4, torch.finfo(torch.float32).min])
def test_very_low_scores_get_exactly_zero(algorithm, low):
    # Support {0.5, 0.3}: tau = -0.1.
    weights = algorithm(torch.tensor([[0.5, low, 0.3]]))
    assert weights[0, 1] == 0
    torch.testing.assert_close(weights, torch.tensor([[0.6, 0.0, 0.4]]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([NO, NO, NO, NO], [0, 0, 0, 0]),
        ([-1e4, -1e4, -1e4, -1e4], [0.25, 0.25, 0.25, 0.25]),
        ([float("inf"), 0, 3e38, NO], [1, 0, 0, 0]),
        ([float("inf"), 0, float("inf"), 1], [0.5, 0, 0.5, 0]),
        ([1e30, -1e30, 0, 1], [1, 0, 0, 0]),
    ],
)
def test_extreme_rows(algorithm, row, expected):
    assert algorithm(torch.tensor([row], dtype=torch.float32)).tolist() == [expected]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nan_is_not_hidden(algorithm):
    weights = algorithm(torch.tensor([[1.0, float("nan")], [1.0, 0.0]]))
    assert weights[0].isnan().all()
    assert weights[1].tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_projected_in_float32(dtype):
    scores = normal(64, 197, dtype=torch.float32).to(dtype)
    weights = sparsemax(scores)
    torch.testing.assert_close(weights, sparsemax(scores.float()), atol=0, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(each_way, dtype):
    scores = normal(64, 197, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        weights = sparsemax(scores)
        (gradient,) = torch.autograd.grad(weights.square().sum(), scores)
    plain = sparsemax(scores)
    torch.testing.assert_close(weights, plain, atol=0, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(64), atol=1e-6, rtol=0)
    (expected,) = torch.autograd.grad(plain.square().sum(), scores)
    torch.testing.assert_close(gradient, expected, atol=0, rtol=0)


def test_gradient_reaches_half_precision_scores(each_way):
    scores = normal(4, 5).bfloat16().requires_grad_()
    sparsemax(scores).square().sum().backward()
    assert scores.grad.dtype == torch.bfloat16
    assert scores.grad.abs().sum() > 0


def test_does_not_write_to_its_input(each_way):
    scores = normal(4, 5)
    before = scores.clone()
    sparsemax(scores, torch.ones(5, dtype=torch.bool))
    assert torch.equal(scores, before)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (2, 0, 4)])
def test_has_the_shapes_of_softmax(each_way, shape):
    scores, other = torch.randn(shape, requires_grad=True), torch.zeros(shape, requires_grad=True)
    weights, expected = sparsemax(scores), other.softmax(-1)
    assert weights.shape == expected.shape
    assert torch.equal(weights, expected)  # of a row of one score, both make 1
    weights.sum().backward()
    expected.sum().backward()
    assert torch.equal(scores.grad, other.grad)


def test_a_single_score_can_be_masked():
    assert sparsemax(torch.tensor(3.0), torch.tensor(False)) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_what_is_no_number_in_a_gradient_spoils_its_row_as_in_softmax(each_way, place, value):
    gradient = torch.zeros(2, 4)
    gradient[0, place] = value
    spoilt = []
    for function in (sparsemax, lambda scores: scores.softmax(-1)):
        # The weights of the last two scores are 0 in sparsemax, of the last one in softmax.
        scores = torch.tensor([[0.5, 0.3, -9.0, -1e4], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
        function(scores).backward(gradient)
        assert scores.grad[1].tolist() == [0] * 4
        spoilt.append(~scores.grad[0].isfinite())
    assert spoilt[0].all()
    assert torch.equal(*spoilt)


def test_nan_in_a_row_spoils_the_gradient_of_that_row_alone(each_way):
    scores = torch.tensor([[1.0, float("nan")], [1.0, 0.5]], requires_grad=True)
    sparsemax(scores).backward(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    assert scores.grad[0].isnan().all()
    assert scores.grad[1].tolist() == [-0.5, 0.5]


def test_no_gradient_passes_a_fully_masked_row_not_even_nan(each_way):
    scores = torch.zeros(2, 3, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    sparsemax(scores, mask).backward(torch.full((2, 3), torch.nan))
    assert scores.grad[0].tolist() == [0, 0, 0]
    assert scores.grad[1].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_may_be_further_apart_than_the_largest_number(each_way, dtype):
    most = torch.finfo(dtype).max
    weights = sparsemax(torch.tensor([[most, -most, most], [-most, 0, -most]], dtype=dtype))
    assert weights.tolist() == [[0.5, 0, 0.5], [0, 1, 0]]


def test_a_view_that_negates_is_read_as_what_it_shows(each_way):
    scores = torch.complex(normal(4, 6), normal(4, 6, seed=1))
    shown = scores.conj().imag
    assert shown.is_neg()
    assert torch.equal(sparsemax(shown), sparsemax(-scores.imag))


def test_takes_scores_that_are_not_contiguous_or_have_no_rows(each_way):
    scores = normal(5, 4, 6).transpose(0, 2)
    assert sparsemax(scores[0].T).is_contiguous()
    torch.testing.assert_close(sparsemax(scores), sparsemax(scores.contiguous()), atol=0, rtol=0)
    assert sparsemax(torch.zeros(0, 5)).shape == (0, 5)
