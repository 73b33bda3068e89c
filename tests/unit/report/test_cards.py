"""A text is shown as it was written, with its words in colour."""

import pytest

from mvcn.explain.post import Word
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.report.cards import leading_words, pieces


def word(text, saliency):
    return Word(text, saliency, None, None)


@pytest.fixture(scope="module")
def processor(tiny_settings):
    return build_processor(ModelConfig(**tiny_settings, max_tokens=24))


@pytest.mark.parametrize(
    "text",
    [
        "it's (fine), @its_Jane!",
        "see http://t.co/3IgkRJgQuc",
        "a  b\nc, and much more than the model reads of a text",
        "",
    ],
)
def test_a_text_is_complete_and_words_are_those_of_the_tokenizer(processor, text):
    words = [word(one, k + 1.0) for k, (one, _) in enumerate(processor.words(text))]
    found = pieces(text, words)
    assert "".join(piece.text for piece in found) == text
    marked = [(piece.text, piece.saliency) for piece in found if piece.saliency is not None]
    assert marked == [(one.text, one.saliency / len(words)) for one in words]


def test_what_was_not_read_has_no_colour():
    found = pieces("so good a day", [word("so", -2.0), word("good", 1.0)])
    assert [tuple(piece) for piece in found] == [
        ("so", -1),
        (" ", None),
        ("good", 0.5),
        (" a day", None),
    ]


def test_attribute_words_follow_the_text():
    found = pieces("a day", [word("a", 1.0), word("day", 1.0), word("beach", 1.0)])
    assert "".join(piece.text for piece in found) == "a day beach"


def test_the_words_that_matter_most_are_named_without_punctuation():
    words = [word("!", 9.0), word("good", 1.0), word("so", 2.0), word("not", -1.0), word("a", 0.0)]
    assert leading_words(words, 1) == ["so", "good"]
    assert leading_words(words, -1) == ["not"]
