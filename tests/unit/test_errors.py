"""Reasons of libraries, made part of one sentence."""

import pytest

from mvcn.errors import MAX_REASON_LENGTH, reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("first\n  second."), "first second"),
        (OSError(2, "No such file or directory", "a.csv"), "No such file or directory"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "'x'"),
        (ValueError("a" * 1000), "a" * MAX_REASON_LENGTH),
    ],
)
def test_a_reason_is_one_short_line_without_a_full_stop(error, reason):
    assert reason_of(error) == reason
