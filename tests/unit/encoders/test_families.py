"""Families whose encoders are not read as all others: each is read as it was trained."""

import json
import logging

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from mvcn.config import RunConfig
from mvcn.encoders.families import IMAGE_FAMILIES, TEXT_FAMILIES
from mvcn.encoders.images import IMAGE_INPUTS, image_tokens
from mvcn.encoders.loading import (
    load_image_encoder,
    load_image_processor,
    load_text_encoder,
    load_tokenizer,
)
from mvcn.errors import ConfigError
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from tests import tiny_encoders

CLASSES = ("a", "b")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "encoder"


def test_no_type_is_one_of_texts_and_of_images():
    assert not {*TEXT_FAMILIES} & {*IMAGE_FAMILIES}


def test_a_masked_autoencoder_sees_all_patches_the_same_way_each_time(folder):
    tiny_encoders.save(tiny_encoders.IMAGES["vit_mae"](), folder)
    encoder, pixels = load_image_encoder(str(folder)).eval(), torch.randn(2, 3, 32, 32)
    tokens = image_tokens(encoder, pixels)
    assert tokens.shape[1] == 1 + 16
    assert torch.equal(image_tokens(encoder, pixels), tokens)
    changed = pixels.clone()
    changed[:, :, 8:16, 24:] += 1  # the second row's last patch
    embedded = [
        encoder.embeddings(one, torch.arange(16.0).expand(2, -1))[0] for one in (pixels, changed)
    ]
    differs = (embedded[0] != embedded[1]).any(-1)
    assert differs.nonzero()[:, 1].tolist() == [1 + 7] * 2


def test_patches_are_those_of_the_published_processor():
    from transformers.models.siglip2 import Siglip2ImageProcessorPil

    published = Siglip2ImageProcessorPil(
        patch_size=8, max_num_patches=16, image_mean=[0.0] * 3, image_std=[1.0] * 3
    )
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    theirs = published(image, return_tensors="pt")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    ours = IMAGE_INPUTS["patches"](pixels, hf.Siglip2VisionConfig(patch_size=8))
    assert theirs["spatial_shapes"].tolist() == ours["spatial_shapes"].tolist() == [[4, 4]]
    torch.testing.assert_close(ours["pixel_values"], theirs["pixel_values"], atol=1e-6, rtol=0)
    assert torch.equal(ours["pixel_attention_mask"], theirs["pixel_attention_mask"].long())


def test_an_image_of_any_shape_is_read_as_a_square_of_patches(folder):
    from transformers.models.siglip2 import Siglip2ImageProcessorPil

    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    processor = load_image_processor(str(folder))
    assert dict(processor.size) == {"height": 32, "width": 32}
    assert (*processor.image_mean, processor.resample) == (0.5, 0.5, 0.5, 2)


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "xlnet", "clip_text_model", "t5"])
def test_a_text_is_classified_by_what_its_last_word_has_changed(
    name, folder, tiny_settings, tiny_text_encoder
):
    tiny_encoders.save(tiny_encoders.TEXTS[name](), folder, tiny_text_encoder)
    settings = tiny_settings | {"text_encoder": str(folder), "network": "bert"}
    model = build_model(ModelConfig(**settings), CLASSES).eval()
    ids = torch.tensor([[2, 7, 8, 9, 0], [2, 7, 8, 10, 0]])
    mask = (ids > 0).long()
    with torch.no_grad():
        one, other = model(ids, mask).logits
        padded = model(ids[:, :4], mask[:, :4]).logits[0]
    assert (one - other).abs().max() > 1e-4
    torch.testing.assert_close(padded, one, atol=1e-5, rtol=0)


def test_one_layer_for_all_cannot_be_frozen_in_part(folder, tiny_settings, tiny_text_encoder):
    tiny_encoders.save(tiny_encoders.TEXTS["albert"](), folder, tiny_text_encoder)
    settings = tiny_settings | {"text_encoder": str(folder)}
    with pytest.raises(ConfigError, match=r"is 1, so use --set model.frozen_text_layers=0, or all"):
        build_model(ModelConfig(**settings, frozen_text_layers=1), CLASSES)
    build_model(ModelConfig(**settings, frozen_text_layers="all"), CLASSES)


def test_what_reads_padding_is_refused(folder, tiny_text_encoder):
    tiny_encoders.save(tiny_encoders.TEXTS["convbert"](), folder, tiny_text_encoder)
    with pytest.raises(ConfigError, match="its convolutions read padding"):
        load_text_encoder(str(folder))


def test_a_type_without_a_row_is_said_to_be_untested(folder, caplog):
    caplog.set_level(logging.INFO)
    hf.BertModel(hf.BertConfig(**tiny_encoders.BERT)).save_pretrained(folder)
    load_text_encoder(str(folder))
    assert "untested type" not in caplog.text
    hf.RemBertModel(
        hf.RemBertConfig(**tiny_encoders.BERT, input_embedding_size=16, output_embedding_size=16)
    ).save_pretrained(folder)
    load_text_encoder(str(folder))
    assert "of the untested type 'rembert'" in caplog.text


def test_a_tokenizer_of_a_decoder_pads_by_its_end_of_text(tiny_text_encoder, folder):
    tokenizer = hf.AutoTokenizer.from_pretrained(tiny_text_encoder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    del settings["pad_token"]
    path.write_text(json.dumps(settings | {"eos_token": "[SEP]", "pad_token": None}), "utf-8")
    assert load_tokenizer(str(folder)).pad_token == "[SEP]"


@pytest.mark.parametrize("name", tiny_encoders.TOWERS)
def test_both_towers_have_one_name(name, folder, tiny_settings, tiny_text_encoder):
    tiny_encoders.save(tiny_encoders.TOWERS[name](), folder, tiny_text_encoder)
    config = RunConfig()
    config.update({"model": {**tiny_settings, "text_encoder": "minilm-l6"}})
    config.update({"model": {"encoder": str(folder)}})
    model = build_model(config.model, CLASSES)
    both = hf.AutoModel.from_pretrained(folder)
    for ours, theirs in (
        (model.text_encoder, both.text_model),
        (model.image_encoder, both.vision_model),
    ):
        found = ours.state_dict()
        assert all(torch.equal(found[name], one) for name, one in theirs.state_dict().items())


def test_one_name_and_another_for_a_tower_contradict_each_other():
    with pytest.raises(ConfigError, match=r"'model.text_encoder' is set twice"):
        RunConfig().update({"model": {"encoder": "a", "text_encoder": "b"}})
