"""Lone surrogates become U+FFFD, each counted; characters that nobody sees are no text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.text import has_text, replace_surrogates

ANY_TEXT = st.text(st.characters(exclude_categories=()))
INVISIBLE = (
    " \t\n\x00\x1b\xa0\xad\u034f\u115f\u200b\u200d\u200e\u2028\u2060\u2800\u3000\u3164\ufe0f\ufeff"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", 0)),
        ("caf\u00e9 \U0001f600 \ufffd", ("caf\u00e9 \U0001f600 \ufffd", 0)),
        ("so \ud83d", ("so \ufffd", 1)),
        ("\ude00 so", ("\ufffd so", 1)),
        ("\ud83d\ude00", ("\U0001f600", 0)),
        ("\ude00\ud83d", ("\ufffd\ufffd", 2)),
        ("\ud83d\ud83d\ude00", ("\ufffd\U0001f600", 1)),
        ("a\ud83db\ufffd", ("a\ufffdb\ufffd", 1)),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), ("caf\ufffd", 1)),
    ],
)
def test_lone_surrogates_are_replaced_and_pairs_joined(text, expected):
    assert replace_surrogates(text) == expected


@given(ANY_TEXT)
def test_the_result_can_be_encoded_and_all_other_characters_stay(text):
    found = replace_surrogates(text)
    found.text.encode()
    pair, lone = "[\ud800-\udbff][\udc00-\udfff]", "[\ud800-\udfff]"
    pieces = re.findall(f"{pair}|{lone}", text)
    assert found.num_replaced == sum(len(piece) == 1 for piece in pieces)
    joined = re.sub(pair, lambda m: m[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    assert found.text == re.sub(lone, "\ufffd", joined)


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
