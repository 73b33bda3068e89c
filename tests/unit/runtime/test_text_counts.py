"""How much of texts is read, and what is said of it."""

import logging
import re

import pytest

from mvcn.runtime.text_counts import TextCounts


def test_counts_add_up():
    total = TextCounts(3, 1, 40, 2, 64) + TextCounts() + TextCounts(2, 0, 10, 1, 64)
    assert total == TextCounts(5, 1, 50, 3, 64)
    assert total.to_mapping() == {
        "texts": 5,
        "truncated": 1,
        "word_pieces": 50,
        "unknown_word_pieces": 3,
        "max_tokens": 64,
        "unknown_share": 0.06,
    }
    assert TextCounts().unknown_share == 0


@pytest.mark.parametrize(
    ("counts", "level", "words"),
    [
        (TextCounts(200, 1, 900, 0, 64), logging.INFO, "1 text is longer than 64 word pieces"),
        (TextCounts(200, 2, 900, 0, 64), logging.INFO, "2 texts .* and the rest is not read.$"),
        (
            TextCounts(200, 3, 900, 0, 64),
            logging.WARNING,
            "the rest is not read: train with --set model.max_tokens=128",
        ),
        (TextCounts(9, 0, 1000, 11, 64), logging.WARNING, "1.1 % of the word pieces"),
        (TextCounts(9, 0, 100, 75, 64), logging.WARNING, "a multilingual one, .*text_encoder="),
    ],
)
def test_one_sentence_says_what_was_not_read(counts, level, words, caplog):
    with caplog.at_level(logging.INFO, "mvcn"):
        assert counts.log()
    (record,) = caplog.records
    assert record.levelno == level
    assert re.search(words, record.getMessage())


def test_a_few_unknown_word_pieces_go_without_saying_and_without_a_remedy(caplog):
    with caplog.at_level(logging.INFO, "mvcn"):
        assert not TextCounts(9, 0, 1000, 10, 64).log()
        assert not caplog.records
        TextCounts(9, 0, 1000, 50, 64).log()
    assert "text_encoder=" not in caplog.text


def test_both_are_said(caplog):
    TextCounts(10, 5, 100, 50, 64).log()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
