"""What counts as a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.blanks import has_text

INVISIBLE = (
    " \t\n\x00\x1b\xa0\xad\u034f\u115f\u200b\u200d\u200e\u2028\u2060\u2800\u3000\u3164\ufe0f\ufeff"
)


@given(st.text(st.sampled_from(INVISIBLE)))
def test_characters_that_nobody_sees_are_no_text(text):
    assert not has_text(text)


@given(st.text(st.sampled_from(INVISIBLE)), st.text(st.sampled_from(INVISIBLE)))
def test_one_character_that_is_seen_is_a_text(before, after):
    for seen in (
        "a",
        ".",
        "!",
        "\u2764\ufe0f",
        "\U0001f468\u200d\U0001f469",
        "\u0416",
        "\ufffd",
        "0",
    ):
        assert has_text(before + seen + after)


@pytest.mark.parametrize("text", ["\u0301", "\ud83d", "\u4e2d", "\U000e0041x"])
def test_marks_and_letters_of_every_script_are_texts(text):
    assert has_text(text)
