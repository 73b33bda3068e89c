"""Encoders that do not read what their tokenizer or image processor makes are refused."""

import json
import shutil

import pytest

from mvcn.errors import ConfigError
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from tests import tiny_encoders


def encode_by(settings, **changes):
    config = ModelConfig(**settings | changes)
    return PostEncoder.for_model(build_model(config, ("a", "b")), build_processor(config))


@pytest.fixture
def small(tmp_path, tiny_text_encoder):
    """Folder of a text encoder with fewer embeddings than its tokenizer has word pieces."""
    config = tiny_encoders.TEXTS["bert"]()
    config.vocab_size = 100
    tiny_encoders.save(config, tmp_path, tiny_text_encoder)
    return tmp_path


def test_a_tokenizer_of_more_word_pieces_is_refused(small, tiny_settings):
    match = r"tokenizer of '.*' has 141 word pieces, but its text encoder only 100: save the tok"
    with pytest.raises(ConfigError, match=match):
        encode_by(tiny_settings, text_encoder=str(small))
    encode_by(tiny_settings, text_encoder=str(small), network="resnet")


def test_images_of_another_size_than_the_encoder_reads_are_refused(
    tmp_path, tiny_image_encoder, tiny_settings
):
    folder = shutil.copytree(tiny_image_encoder, tmp_path / "copy")
    file = folder / "preprocessor_config.json"
    found = json.loads(file.read_text("utf-8")) | {"size": {"height": 48, "width": 40}}
    file.write_text(json.dumps(found), "utf-8")
    with pytest.raises(ConfigError, match=r"copy' does not read the images of 48 x 40 .*: save"):
        encode_by(tiny_settings, image_encoder=str(folder))
    encode_by(tiny_settings, image_encoder=str(folder), network="bert")
