"""Numbers have no more digits than the posts that they are of support."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.report.rounding import decimals, ends, number, percent


@given(st.integers(1, 10**8))
def test_the_last_digit_is_as_coarse_as_the_standard_error_allows(posts):
    error = 100 * math.sqrt(0.5 * 0.5 / posts)
    last = 10.0 ** -decimals(posts)
    assert last <= error * (1 + 1e-9)
    assert decimals(posts) == 0 or 10 * last > error


@pytest.mark.parametrize(
    ("share", "posts", "text"),
    [
        (0.68421, 90, "68 %"),
        (0.68421, 4_000, "68.4 %"),
        (1.0, 1, "100 %"),
        (0.68421, 10**6, "68.42 %"),
    ],
)
def test_a_share_of_few_posts_has_no_decimals(share, posts, text):
    assert percent(share, posts) == text


def test_there_is_no_negative_zero():
    assert number(-0.0004, 90) == "0"
    assert ends((-0.004, 0.016), 90) == "0 to 2"
