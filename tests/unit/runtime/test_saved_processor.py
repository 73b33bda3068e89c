"""A saved processor makes the same arrays as the one that was saved, without its library."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip import CLIPImageProcessorPil
from transformers.models.convnext import ConvNextImageProcessorPil

from mvcn.inputs.processor import MvcnProcessor, build_processor
from mvcn.model_config import ModelConfig
from mvcn.runtime.saved_processor import SavedProcessor
from mvcn.types import Post

TEXTS = [
    "",
    " ",
    "two words",
    "odd  blanks\n\n and\ttabs ",
    "so happy 😀😀😀 today 👩‍👩‍👧 🇫🇷",
    "naïve café, 你好 नमस्ते 안녕하세요",
    "unbelievably " * 60,
    "[CLS] marks [UNK] in the text [SEP]",
]
SWITCHES = {
    "mark_whitespace": True,
    "name_emoji": True,
    "append_attributes": True,
    "number_words": True,
}


@pytest.fixture(scope="module", params=["packaged", "tiny", "switched"])
def saved(request, tmp_path_factory, tiny_settings):
    """Return a processor, and what reads the folder that it was saved to."""
    folder = tmp_path_factory.mktemp("processor")
    settings = tiny_settings if request.param == "tiny" else {}
    processor = build_processor(ModelConfig(**settings))
    if request.param == "switched":
        processor = MvcnProcessor(
            processor.image_processor, processor.tokenizer, max_tokens=9, **SWITCHES
        )
    processor.save_pretrained(folder)
    assert SavedProcessor.why_not(folder) is None
    return processor, SavedProcessor(folder)


def test_texts_become_the_same_word_pieces(saved):
    processor, reader = saved
    found, expected = reader.tokenize(TEXTS), processor.tokenize(TEXTS)
    assert found == expected
    assert reader.count(TEXTS, found) == processor.count(TEXTS, expected)
    for name, array in reader.pad(found).items():
        np.testing.assert_array_equal(array, processor.pad(expected)[name], strict=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_any_texts_become_the_same_word_pieces(saved, texts):
    processor, reader = saved
    assert reader.tokenize(texts) == processor.tokenize(texts)


def test_the_words_of_a_text_are_the_same(saved):
    processor, reader = saved
    for text in TEXTS:
        assert reader.words(text) == processor.words(text)


def test_attributes_are_read_after_the_text_where_that_is_wanted(saved):
    post = Post("1", "a cat", None, attributes=("old", "sofa"))
    silent = Post("2", " ", None, attributes=("x",))
    for processor in saved:
        wanted = processor.append_attributes
        assert processor.text_of(post) == ("a cat . old sofa" if wanted else "a cat")
        assert processor.text_of(silent) == " "


def test_a_processor_of_before_there_was_a_setting_has_it_off(saved, tmp_path):
    processor, _ = saved
    processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    content = json.loads(path.read_text("utf-8"))
    del content["append_attributes"]
    path.write_text(json.dumps(content), "utf-8")
    assert SavedProcessor.why_not(tmp_path) is None
    assert SavedProcessor(tmp_path).append_attributes is False
    assert MvcnProcessor.from_pretrained(tmp_path).append_attributes is False


def test_images_become_the_same_pixels(saved):
    processor, reader = saved
    noise = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    np.testing.assert_array_equal(reader.pixels(image), processor.pixels(image), strict=True)
    np.testing.assert_array_equal(reader.blank, processor.blank, strict=True)
    assert reader.image_size_px == processor.image_size_px


def test_images_are_cropped_as_before(tmp_path, tiny_settings):
    tokenizer = build_processor(ModelConfig(**tiny_settings)).tokenizer
    processor = MvcnProcessor(CLIPImageProcessorPil(), tokenizer)
    processor.save_pretrained(tmp_path)
    reader, image = SavedProcessor(tmp_path), Image.effect_noise((300, 41), 50).convert("RGB")
    np.testing.assert_array_equal(reader.pixels(image), processor.pixels(image), strict=True)
    assert reader.image_size_px == processor.image_size_px


def test_what_it_cannot_read_is_left_to_the_library(tmp_path, tiny_settings):
    processor = build_processor(ModelConfig(**tiny_settings))
    other = MvcnProcessor(ConvNextImageProcessorPil(), processor.tokenizer)
    other.save_pretrained(tmp_path / "other")
    assert "does more than resize" in str(SavedProcessor.why_not(tmp_path / "other"))
    processor.save_pretrained(tmp_path / "slow")
    (tmp_path / "slow" / "tokenizer.json").unlink()
    assert "no tokenizer.json" in str(SavedProcessor.why_not(tmp_path / "slow"))
    processor.save_pretrained(tmp_path / "early")
    path = tmp_path / "early" / "processor_config.json"
    content = json.loads(path.read_text("utf-8"))
    del content["number_words"]
    path.write_text(json.dumps(content), "utf-8")
    assert "earlier version" in str(SavedProcessor.why_not(tmp_path / "early"))
    shutil.rmtree(tmp_path / "early")
    assert SavedProcessor.why_not(tmp_path / "early") is not None
