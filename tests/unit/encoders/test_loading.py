"""Encoders by folder: loaded as Hugging Face loads them, or refused in one sentence."""

import json
import re
import shutil
from importlib.util import find_spec

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.image_processing_backends import PilBackend

from mvcn.encoders import loading
from mvcn.encoders.loading import (
    build_encoder,
    load_image_encoder,
    load_image_processor,
    load_text_encoder,
    load_tokenizer,
)
from mvcn.errors import ConfigError, how_to_install

LOADERS = {
    "text": (load_text_encoder, load_tokenizer),
    "image": (load_image_encoder, load_image_processor),
}
PACKAGED_NAMES = {"text": "minilm-l6", "image": "efficientnet-lite0"}
kinds = pytest.mark.parametrize("kind", LOADERS)
TEXT = {
    "vocab_size": 30,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
IMAGE = {**TEXT, "image_size": 32, "patch_size": 8}
del IMAGE["vocab_size"]


@pytest.fixture
def folder(request, kind, tmp_path):
    """A copy of a tiny encoder that a test may damage."""
    source = request.getfixturevalue(f"tiny_{kind}_encoder")
    return shutil.copytree(source, tmp_path / "copy")


@kinds
def test_weights_are_those_of_the_folder_and_no_pooler_is_left(kind, folder):
    encoder = LOADERS[kind][0](str(folder))
    expected = transformers.AutoModel.from_pretrained(folder).state_dict()
    assert encoder.state_dict().keys() == {name for name in expected if "pooler" not in name}
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_saved_in_half_precision_are_read_in_single(kind, folder, dtype):
    half = transformers.AutoModel.from_pretrained(folder).to(dtype)
    half.save_pretrained(folder)
    encoder = LOADERS[kind][0](str(folder))
    for name, tensor in encoder.state_dict().items():
        expected = half.state_dict()[name]
        assert torch.equal(tensor, expected.float() if expected.is_floating_point() else expected)
    assert encoder.dtype == build_encoder(encoder.config).dtype == torch.float32


@kinds
def test_what_is_rebuilt_from_its_configuration_takes_its_weights(kind, folder):
    encoder = LOADERS[kind][0](str(folder))
    rebuilt = build_encoder(encoder.config)
    assert rebuilt.load_state_dict(encoder.state_dict()) is not None
    assert type(rebuilt) is type(encoder)


@kinds
@pytest.mark.parametrize("part", [0, 1], ids=["encoder", "what belongs to it"])
def test_what_cannot_be_found_is_told_with_the_choices(kind, part, tmp_path):
    other, packaged = PACKAGED_NAMES["image" if kind == "text" else "text"], PACKAGED_NAMES[kind]
    for name in (str(tmp_path), str(tmp_path / "absent"), "no-such-encoder-anywhere", other):
        match = rf"from '{name}': use the packaged name {packaged}, a folder"
        with pytest.raises(ConfigError, match=match) as caught:
            LOADERS[kind][part](name)
        assert "\n" not in str(caught.value)


@kinds
@pytest.mark.parametrize("kept", [0, 20, 3000])
def test_a_truncated_file_is_reported(kind, folder, kept):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=rf"The {kind} encoder from '.*copy' cannot be loaded"):
        LOADERS[kind][0](str(folder))


@kinds
def test_a_missing_weight_is_told_and_not_drawn_at_random(kind, folder):
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "layernorm" in name.lower() and "0" in name)
    del weights[gone]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ConfigError, match=r"cannot be loaded \(1 weights such as .*(?i:norm).* are missing"
    ):
        LOADERS[kind][0](str(folder))


@kinds
def test_a_wrong_size_is_reported(kind, folder):
    settings = json.loads((folder / "config.json").read_text())
    settings["intermediate_size"] = 40
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"cannot be loaded \(.*size"):
        LOADERS[kind][0](str(folder))


@kinds
def test_a_garbage_configuration_is_reported(kind, folder):
    (folder / "config.json").write_text("{no json")
    with pytest.raises(ConfigError, match="can be loaded from"):
        LOADERS[kind][0](str(folder))


@kinds
def test_pickled_weights_are_not_read(kind, folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    match = r"can be loaded from '.*copy', since pytorch_model.bin is a pickle.*: save the model"
    with pytest.raises(ConfigError, match=match):
        LOADERS[kind][0](str(folder))


@kinds
def test_an_encoder_of_the_other_kind_is_refused(kind, folder):
    other = "image" if kind == "text" else "text"
    with pytest.raises(
        ConfigError, match=rf"cannot be the {other} encoder.* no {other}s: .*model.{other}_encoder="
    ):
        LOADERS[other][0](str(folder))


@kinds
def test_what_was_not_saved_next_to_an_encoder_is_named(kind, folder):
    for pattern in ("tokenizer*", "preprocessor_config.json"):
        for path in folder.glob(pattern):
            path.unlink()
    what = {"text": "tokenizer", "image": "image processor"}[kind]
    (folder / "config.json").write_text(json.dumps({"model_type": "efficientnet-lite"}))
    with pytest.raises(
        ConfigError, match=f"No {what} can be loaded from '.*', which has none: save .* {what} "
    ):
        LOADERS[kind][1](str(folder))


@kinds
def test_code_next_to_the_weights_is_not_run(kind, folder):
    mine = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(mine))
    (folder / "mine.py").write_text(f"open({str(folder / 'was-run')!r}, 'w').close()")
    with pytest.raises(ConfigError, match="can be loaded from"):
        LOADERS[kind][0](str(folder))
    assert not (folder / "was-run").exists()


def test_a_checkpoint_without_pooler_is_whole(tiny_text_encoder, tmp_path):
    bert = transformers.BertModel.from_pretrained(tiny_text_encoder, add_pooling_layer=False)
    bert.save_pretrained(tmp_path)
    assert load_text_encoder(str(tmp_path)).pooler is None


def test_a_language_model_gives_its_encoder(tmp_path):
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(transformers.BertConfig(**TEXT))
    model.save_pretrained(tmp_path)
    encoder = load_text_encoder(str(tmp_path))
    for name, tensor in model.bert.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor), name


def test_clip_gives_its_text_and_its_vision_part(tmp_path):
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=IMAGE, projection_dim=16)
    clip = transformers.CLIPModel(config)
    clip.save_pretrained(tmp_path)
    for encoder, part in (
        (load_text_encoder(str(tmp_path)), clip.text_model),
        (load_image_encoder(str(tmp_path)), clip.vision_model),
    ):
        assert encoder.state_dict().keys() == part.state_dict().keys()
        for name, tensor in part.state_dict().items():
            assert torch.equal(encoder.state_dict()[name], tensor), name
        assert type(build_encoder(encoder.config)) is type(encoder)


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    sizes = {"d_model": 32, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    sizes |= {"encoder_layers": 1, "decoder_layers": 1}
    config = transformers.BartConfig(
        vocab_size=30, encoder_attention_heads=2, decoder_attention_heads=2, **sizes
    )
    transformers.BartModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="cannot be the text encoder: type 'bart'"):
        load_text_encoder(str(tmp_path))


def test_what_could_not_be_rebuilt_from_a_saved_run_is_refused(tmp_path):
    config = transformers.ChineseCLIPConfig(text_config=TEXT, vision_config=IMAGE)
    transformers.ChineseCLIPModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="type 'chinese_clip_text_model' cannot be saved"):
        load_text_encoder(str(tmp_path))


@pytest.mark.parametrize("kind", ["text"])
def test_a_tokenizer_without_vocabulary_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(
        ConfigError, match=r"tokenizer from '.*' cannot be loaded \(it has no vocab"
    ):
        load_tokenizer(str(folder))


@pytest.mark.parametrize("kind", ["text"])
@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_damaged_tokenizer_is_refused(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match="tokenizer"):
        load_tokenizer(str(folder))


def test_a_tokenizer_without_padding_is_refused(tmp_path):
    vocabulary = {piece: number for number, piece in enumerate("abc")}
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, pad_token=None, model_max_length=16)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="has no padding token"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("saved", ["ViTImageProcessor", "CLIPImageProcessor"])
def test_image_processors_are_the_pillow_ones(saved, tmp_path):
    getattr(transformers, f"{saved}Pil")().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["image_processor_type"] == saved
    assert isinstance(load_image_processor(str(tmp_path)), PilBackend)


def test_pillow_is_asked_for_even_where_there_is_a_choice(tiny_image_encoder, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        loading.AutoImageProcessor, "from_pretrained", lambda _, **options: asked.update(options)
    )
    load_image_processor(str(tiny_image_encoder))
    assert asked["backend"] == "pil"


@pytest.mark.parametrize("chosen", ["eager", "sdpa"])
def test_the_way_to_compute_attention_is_passed_on(chosen, tiny_text_encoder, tiny_image_encoder):
    for encoder in (
        load_text_encoder(str(tiny_text_encoder), chosen),
        load_image_encoder(str(tiny_image_encoder), chosen),
    ):
        assert encoder.config._attn_implementation == chosen


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash attention is installed")
def test_a_way_to_compute_attention_that_is_not_there_is_named(tiny_text_encoder):
    with pytest.raises(
        ConfigError, match="cannot use the attention implementation 'flash_attention_2' here"
    ):
        load_text_encoder(str(tiny_text_encoder), "flash_attention_2")


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_an_encoder_of_timm_says_what_to_install(tmp_path):
    content = {"architecture": "test_vit", "num_classes": 7, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(content), "utf-8")
    to_type = re.escape(f"needs the extra 'timm': {how_to_install('timm')}.")
    for load in (load_image_encoder, load_image_processor):
        with pytest.raises(
            ConfigError, match=f"The image .*'{re.escape(str(tmp_path))}' {to_type}"
        ):
            load(str(tmp_path))
    with pytest.raises(ConfigError, match=f"An encoder of type 'timm_wrapper' {to_type}"):
        build_encoder(transformers.TimmWrapperConfig())
