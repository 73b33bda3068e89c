"""Emoji get their names as words, and nothing else of a text changes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.runtime.visible_text import (
    MAX_REPEATS,
    mark_whitespace,
    name_emoji,
    normalize_whitespace,
)


def every_emoji():
    import emoji  # loads the names of all

    return list(emoji.EMOJI_DATA)


EMOJI = st.deferred(lambda: st.sampled_from(every_emoji()))


def unknown(_):
    return False


def named(text):
    return name_emoji(text, unknown).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so happy \U0001f60d", "so happy smiling face with heart-eyes"),
        ("love\U0001f60d", "love smiling face with heart-eyes"),
        ("\U0001f60dlove", "smiling face with heart-eyes love"),
        ("a\U0001f44db\U0001f44ec", "a thumbs up b thumbs down c"),
        ("no! \U0001f44e!", "no! thumbs down !"),
        ("red \u2764\ufe0f", "red red heart"),
        ("red \u2764", "red red heart"),
        ("\U0001f60d\ufe0fx", "smiling face with heart-eyes x"),
        ("\U0001f44d\U0001f3fd", "thumbs up medium skin tone"),
        ("\U0001f469\u200d\u2764\ufe0f\u200d\U0001f468", "couple with heart woman man"),
        ("\U0001f469\u200d\U0001f9d4", "woman person beard"),
        ("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7!", "Germany France !"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "England"),
        ("number 1\ufe0f\u20e3", "number keycap 1"),
        ("\U0001f452", "woman\u2019s hat"),
        ("two\n\n\U0001f600 lines", "two\n\ngrinning face lines"),
    ],
)
def test_an_emoji_is_named_in_words_of_their_own(text, expected):
    assert named(text) == expected


@pytest.mark.parametrize("one", ["\U0001f602", "\u2764\ufe0f", "\U0001f44d\U0001f3fd"])
def test_an_emoji_that_is_repeated_is_named_three_times(one):
    names = [named(one * number) for number in (1, 2, 3, 4, 30)]
    first = names[0]
    assert names == [" ".join([first] * min(n, MAX_REPEATS)) for n in (1, 2, 3, 4, 30)]
    assert named(one * 30 + "end" + one) == " ".join([*[first] * MAX_REPEATS, "end", first])
    shown = name_emoji(one * 30, unknown).parts
    assert "".join(part.emoji for part in shown).count(one[0]) == 30


def test_others_of_the_same_beginning_are_no_repetition():
    dark, plain = "\U0001f44d\U0001f3ff", "\U0001f44d"
    assert named(dark + plain + dark).count("thumbs up") == 3
    assert named((dark + plain) * 5).count("thumbs up") == 10


def test_known_emoji_are_kept():
    text = "a\U0001f60db\U0001f44d \u2764\ufe0f"
    assert name_emoji(text, lambda _: True).text == text
    assert (
        name_emoji(text, lambda one: one == "\U0001f60d").text == "a\U0001f60db thumbs up red heart"
    )


def test_all_emoji_have_names():
    for one in every_emoji():
        visible = name_emoji(f"x{one}y", unknown)
        assert named(visible.text) == visible.text
        assert re.fullmatch("x [^_:]+ y", visible.text)


@given(st.text(st.characters(exclude_categories=["So", "Sk", "Sm", "Po", "Me", "Cs"])))
def test_texts_without_emoji_are_what_they_were(text):
    visible = name_emoji(text, unknown)
    assert visible.text == text
    assert visible.names == {}


@given(st.lists(st.one_of(EMOJI, st.text("ab \u00e9\u200d\ufe0f1#", max_size=4))))
def test_each_part_is_at_its_place(pieces):
    visible = name_emoji("".join(pieces), unknown)
    letters = [c for c in "".join(pieces) if c in "ab\u00e9"]
    between = "".join(part.text for part in visible.parts if not part.emoji)
    assert [c for c in between if c in "ab\u00e9"] == letters
    start = 0
    for part in visible.parts:
        end = start + len(part.text)
        assert visible.text[start:end] == part.text
        found = {visible.names.get(position) for position in range(start, end)}
        assert found == ({(start, part.emoji)} if part.emoji else {None})
        start = end
    for before, after in zip(visible.parts, visible.parts[1:], strict=False):
        if before.emoji or after.emoji:
            assert before.text[-1].isspace() or after.text[0].isspace()


def test_whitespace_is_marked_in_texts_alone():
    assert mark_whitespace(" a  b") == " \u00b7 a \u00b7 b"
    assert mark_whitespace(" \n ") == " \n "


def test_normalized_whitespace_is_single_and_inside():
    assert normalize_whitespace("\u2003 a \r\n\tb\u00a0") == "a b"
    assert normalize_whitespace(" \n ") == ""
