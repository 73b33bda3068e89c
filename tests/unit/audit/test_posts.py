import dataclasses

import pytest

from mvcn.audit.posts import (
    faults_of_image,
    find_encodings,
    find_faulty_images,
    find_mojibake,
    find_unusual_texts,
)
from mvcn.types import ImageFacts

SOUND = [
    "Schöne Grüße aus Köln",
    "voilà, une journée à la plage",
    "くちくいきゅうと海鮮もずく",
    "Превосходная погода сегодня",
    "It\u2019s \u201cfine\u201d \u2026 #love \U0001f600",
    "plain ascii",
]


@pytest.mark.parametrize("wrong", ["latin-1", "cp1252"])
def test_utf8_read_as_something_else_is_found_and_fixed(audited, wrong):
    written = "Schöne Grüße aus Köln, ça va très bien"
    garbled = written.encode("utf-8").decode(wrong)
    finding = find_mojibake(audited(text=[*SOUND, garbled]))
    assert finding.count == 1
    assert finding.details["garbled"] == [{"id": "p6", "text": garbled, "fixed": written}]
    assert [example.positions for example in finding.examples] == [(6,)]


def test_replacement_characters_are_found(audited):
    finding = find_mojibake(audited(text=[*SOUND, "caf\ufffd"]))
    assert finding.details == {"garbled": [], "replacement_character": ["p6"]}
    assert finding.count == 1


def test_sound_texts_of_many_scripts_are_not_garbled(audited):
    assert find_mojibake(audited(text=SOUND)).count == 0


def test_each_unusual_text_has_one_fault(audited):
    texts = {
        "": "empty",
        " \n\t": "empty",
        "http://t.co/abc https://t.co/def": "no_words",
        "RT @somebody: @other http://t.co/abc !!": "no_words",
        "@somebody wow": "very_short",
        "x" * 1001: "very_long",
        "くちくいきゅうと海鮮もずく": None,
        "a usual text of some words": None,
        "mail me@example.org": None,
    }
    finding = find_unusual_texts(audited(text=list(texts)))
    expected = {fault: [] for fault in ("empty", "no_words", "very_short", "very_long")}
    for i, fault in enumerate(texts.values()):
        if fault is not None:
            expected[fault].append(f"p{i}")
    assert finding.details == expected
    assert finding.count == 6


def test_encodings_are_those_that_the_reader_tells(audited):
    posts = dataclasses.replace(audited(text=["x", "y"]), encodings={"gb18030": ("p1",)})
    finding = find_encodings(posts)
    assert finding.count == 1
    assert finding.details == {"ids": {"gb18030": ["p1"]}}
    assert [example.positions for example in finding.examples] == [(1,)]


GOOD = {"digest": "0", "width_px": 300, "height_px": 200, "perceptual_hash": 5, "contrast": 40.0}


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({}, []),
        ({"contrast": 0.5}, ["blank"]),
        ({"width_px": 31}, ["tiny", "extreme_aspect_ratio"]),
        ({"width_px": 32, "height_px": 32}, []),
        ({"width_px": 1001}, ["extreme_aspect_ratio"]),
        ({"width_px": 1000}, []),
        ({"problem": "it is damaged"}, ["broken"]),
        ({"truncation": "rows are missing"}, ["truncated"]),
        ({"problem": "it does not exist", "digest": ""}, ["missing"]),
    ],
)
def test_faults_of_an_image(change, faults):
    assert faults_of_image(ImageFacts(**GOOD | change)) == faults


def test_a_post_counts_once_and_a_broken_one_has_its_reason(audited):
    facts = [
        ImageFacts(**GOOD | {"width_px": 10}),
        None,
        ImageFacts("1", problem="Image x is damaged."),
    ]
    facts.append(ImageFacts(**GOOD, truncation="Image y is truncated."))
    finding = find_faulty_images(audited(text=["a", "b", "c", "d"], facts=facts))
    assert finding.count == 3
    assert finding.details["truncated"] == ["p3"]
    assert finding.details["tiny"] == finding.details["extreme_aspect_ratio"] == ["p0"]
    assert finding.details["broken"] == ["p2"]
    assert finding.details["reasons"] == {
        "p2": "Image x is damaged.",
        "p3": "Image y is truncated.",
    }
