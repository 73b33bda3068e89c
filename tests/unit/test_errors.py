"""The words of messages: reasons of libraries within one sentence, and numbers."""

import pytest

from mvcn.errors import MAX_REASON_LENGTH, count_of, reason_of


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


def test_words_agree_with_their_number():
    assert [count_of(number, "image") for number in (0, 1, 2)] == [
        "0 images",
        "1 image",
        "2 images",
    ]
    assert count_of(1, "post has", "posts have") == "1 post has"
    assert count_of(2, "post has", "posts have") == "2 posts have"
