"""Halves of surrogate pairs become U+FFFD, each counted; all else stays as it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.characters import replace_surrogates

ANY_TEXT = st.text(st.characters(exclude_categories=()))


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
def test_lone_halves_are_replaced_and_pairs_joined(text, expected):
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
