"""Text and pixels become tensors in one place, the same on every machine."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    RobertaConfig,
    RobertaModel,
)
from transformers.image_processing_backends import PilBackend

from mvcn.config import ModelConfig
from mvcn.errors import ConfigError
from mvcn.inputs import build_processor
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models import build_model

CLS, SEP, PAD = 2, 3, 0


@pytest.fixture(scope="module")
def processor(tiny_settings):
    return build_processor(ModelConfig(**tiny_settings, max_tokens=8))


def picture(mode="RGB", size=(40, 20)):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")
    return Image.fromarray(pixels).convert(mode)


def test_an_empty_text_is_its_two_marks(processor):
    assert processor.tokenize([""]) == [[CLS, SEP]]


def test_unusual_whitespace_is_shown_to_the_encoder(processor):
    """Leading, trailing and repeated whitespace, which BERT's tokenizer drops."""
    mark = processor.tokenize(["a \u00b7 b"])
    assert processor.tokenize(["a  b"]) == mark
    assert processor.tokenize(["a \t\n b"]) == mark
    assert processor.tokenize(["a b "]) == processor.tokenize(["a b \u00b7"])
    assert processor.tokenize([" a b"]) == processor.tokenize(["\u00b7 a b"])
    assert processor.tokenize(["a b"]) == processor.tokenize(["a\nb"]) != mark


def test_a_text_of_whitespace_is_no_text(processor):
    assert processor.tokenize(["  \n "]) == [[CLS, SEP]]
    assert processor(["  \n "], [None])["text_mask"].tolist() == [False]


def test_whitespace_can_be_ignored(tiny_settings):
    processor = build_processor(ModelConfig(**tiny_settings, mark_whitespace=False))
    assert processor.tokenize([" a  b "]) == processor.tokenize(["a b"])


def test_long_texts_are_cut_and_keep_their_marks(processor):
    (ids,) = processor.tokenize(["abcdefghijklmnop"])
    (whole,) = processor.tokenizer(["abcdefghijklmnop"])["input_ids"]
    assert ids == [*whole[:7], SEP]
    assert ids[0] == CLS


def test_no_text_at_all_gives_no_ids(processor):
    assert processor.tokenize([]) == []


def test_a_text_is_never_read_as_a_mark_of_the_tokenizer_settings(processor):
    texts = ["ab", "a b", "AB"]
    assert [len(ids) for ids in processor.tokenize(texts)] == [4, 4, 4]


def test_padding_goes_to_the_longest_and_is_masked(processor):
    padded = processor.pad([[CLS, 9, SEP], [CLS, SEP]])
    assert padded["input_ids"].tolist() == [[CLS, 9, SEP], [CLS, SEP, PAD]]
    assert padded["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_pixels_are_scaled_as_the_image_processor_says(processor):
    # White is 1 after scaling by 1/255; less the mean 0.5, over the deviation 0.5, that is 1.
    white = Image.new("RGB", (40, 20), "white")
    pixels = processor.encode_images([white])["pixel_values"]
    assert pixels.shape == (1, 3, 32, 32)
    torch.testing.assert_close(pixels, torch.ones_like(pixels))


def test_no_image_is_zeros_and_masked(processor):
    encoded = processor.encode_images([None, picture(), None])
    assert encoded["image_mask"].tolist() == [False, True, False]
    assert not encoded["pixel_values"][[0, 2]].any()
    alone = processor.encode_images([picture()])["pixel_values"]
    assert torch.equal(encoded["pixel_values"][1], alone[0])
    assert processor.encode_images([None])["pixel_values"].shape == (1, 3, 32, 32)


def test_one_call_gives_all_inputs(processor):
    batch = processor(["two words", ""], [picture(), None])
    masks = {"attention_mask", "text_mask", "image_mask"}
    assert set(batch) == {"input_ids", "pixel_values"} | masks
    assert batch["text_mask"].tolist() == [True, False]
    assert {len(tensor) for tensor in batch.values()} == {2}


def test_what_is_saved_loads_the_same(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    posts = (["two words", ""], [picture(), None])
    for loaded in (
        MvcnProcessor.from_pretrained(tmp_path),
        MvcnProcessor.from_pretrained(str(tmp_path), local_files_only=True),
    ):
        assert loaded.max_tokens == 8
        for name, tensor in processor(*posts).items():
            assert torch.equal(loaded(*posts)[name], tensor), name


def test_pillow_is_the_backend_whatever_is_installed(processor, tmp_path, monkeypatch):
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    # The file names no backend, so that it loads where there is only one; loading names it.
    assert saved["image_processor"]["image_processor_type"] == "ViTImageProcessor"
    assert isinstance(MvcnProcessor.from_pretrained(tmp_path).image_processor, PilBackend)
    asked, load = [], AutoImageProcessor.from_pretrained

    def watched(folder, **options):
        asked.append(options["backend"])
        return load(folder, **options)

    monkeypatch.setattr(AutoImageProcessor, "from_pretrained", watched)
    MvcnProcessor.from_pretrained(tmp_path)
    assert asked == ["pil"]


def test_the_auto_class_finds_it_in_a_run(tiny_run):
    loaded = AutoProcessor.from_pretrained(tiny_run)
    assert isinstance(loaded, MvcnProcessor)
    assert isinstance(loaded.image_processor, PilBackend)


def test_more_tokens_than_the_encoder_reads_are_refused_at_once(tiny_settings):
    message = r"'model.max_tokens' is 129, but .* at most 128: give --set model.max_tokens=128\."
    with pytest.raises(ConfigError, match=message):
        build_processor(ModelConfig(**tiny_settings, max_tokens=129))


@pytest.fixture
def roberta(tmp_path, tiny_text_encoder):
    """Folder of a random RoBERTa of 20 positions, whose tokenizer knows of no limit."""
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=200,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=22,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_text_encoder)
    tokenizer.model_max_length = 10**9
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def test_more_tokens_than_the_encoder_has_positions_are_refused_at_once(tiny_settings, roberta):
    settings = {**tiny_settings, "text_encoder": roberta}
    message = r"'model.max_tokens' is 21, but .* at most 20: give --set model.max_tokens=20\."
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig(**settings, max_tokens=21), ("a", "b"))
    model = build_model(ModelConfig(**settings, max_tokens=20), ("a", "b")).eval()
    ids = build_processor(ModelConfig(**settings, max_tokens=20)).tokenize(["a" * 50])
    inputs = torch.tensor(ids)
    assert inputs.shape == (1, 20)
    pixels = torch.zeros(1, 3, 32, 32)
    assert model(inputs, torch.ones_like(inputs), pixels).logits.isfinite().all()


def test_a_network_that_reads_no_text_has_no_limit(tiny_settings, roberta):
    settings = {**tiny_settings, "text_encoder": roberta, "network": "vit"}
    assert build_model(ModelConfig(**settings, max_tokens=64), ("a", "b")).text_encoder is None
