"""What is read of any encoder's configuration and layers."""

import copy
import functools

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mvcn.encoders.images import FROZEN_MICRO_BATCH, frozen_image_tokens, image_tokens
from mvcn.encoders.tokens import (
    freeze,
    keep_lowest_layers,
    lowest_layers,
    most_tokens,
    reads_text_of,
    text_embeddings,
    text_tokens,
    token_width,
)
from mvcn.errors import ConfigError

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
WORDS = {"vocab_size": 30, **SIZES}
BERT = transformers.BertConfig(**WORDS)
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
TEXT_CONFIGS = {
    "bert": BERT,
    "distilbert": transformers.DistilBertConfig(
        vocab_size=30, dim=32, n_layers=3, n_heads=4, hidden_dim=48
    ),
    "roberta": transformers.RobertaConfig(vocab_size=30, **SIZES),
    "electra": transformers.ElectraConfig(vocab_size=30, embedding_size=16, **SIZES),
    "deberta": transformers.DebertaV2Config(vocab_size=30, **SIZES),
    "clip": transformers.CLIPTextConfig(vocab_size=30, bos_token_id=1, eos_token_id=2, **SIZES),
    "gpt2": transformers.GPT2Config(
        vocab_size=30, n_embd=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2
    ),
}
text_encoders = pytest.mark.parametrize("kind", TEXT_CONFIGS)


def build(kind):
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(copy.deepcopy(TEXT_CONFIGS[kind]))


@text_encoders
def test_width_is_that_of_the_tokens(kind):
    encoder = build(kind).eval()
    tokens = encoder(input_ids=torch.tensor([[1, 2, 3]])).last_hidden_state
    assert tokens.shape[-1] == token_width(encoder.config)


@text_encoders
def test_embeddings_hold_the_table_of_word_pieces(kind):
    encoder = build(kind)
    table = encoder.get_input_embeddings()
    assert any(part is table for part in text_embeddings(encoder).modules())


@text_encoders
def test_lowest_layers_are_the_first_to_read_the_embeddings(kind):
    encoder, calls = build(kind).eval(), []
    for number, layer in enumerate(lowest_layers(encoder, 3)):
        layer.register_forward_hook(lambda *_, number=number: calls.append(number))
    encoder(input_ids=torch.tensor([[1, 2, 3]]))
    assert calls == [0, 1, 2]


@text_encoders
def test_more_layers_than_there_are_is_a_config_error(kind):
    with pytest.raises(
        ConfigError,
        match=r"has 3 layers, .* is 4: use --set model\.frozen_text_layers=N .* 0 to 3, or all",
    ):
        lowest_layers(build(kind), 4)


@text_encoders
@pytest.mark.parametrize("count", [0, 2])
def test_an_encoder_keeps_its_lowest_layers_and_is_built_again_like_that(kind, count):
    encoder = build(kind).eval()
    kept = lowest_layers(encoder, count)
    if kind == "deberta" and count == 0:
        with pytest.raises(ConfigError, match="type 'deberta-v2' needs at least one layer"):
            keep_lowest_layers(encoder, count)
        return
    keep_lowest_layers(encoder, count)
    assert lowest_layers(encoder, count) == kept
    again = transformers.AutoModel.from_config(encoder.config).eval()
    again.load_state_dict(encoder.state_dict())
    ids = torch.tensor([[1, 2, 3]])
    mask = torch.ones_like(ids)
    assert torch.equal(text_tokens(again, ids, mask), text_tokens(encoder, ids, mask))
    with pytest.raises(ConfigError, match=f"has {count} layers, so it cannot keep {count + 1}"):
        keep_lowest_layers(encoder, count + 1)


def test_an_encoder_that_does_not_count_its_layers_keeps_all():
    encoder = build("bert")
    encoder.config.num_hidden_layers = 7
    with pytest.raises(ConfigError, match="does not state its number of layers"):
        keep_lowest_layers(encoder, 1)


def test_an_encoder_that_hides_its_embeddings_is_a_config_error(monkeypatch):
    encoder = build("bert")
    del encoder.embeddings
    monkeypatch.setattr(type(encoder), "get_input_embeddings", _raise_not_implemented)
    with pytest.raises(ConfigError, match="'bert' does not expose its embeddings: use --set"):
        text_embeddings(encoder)


def _raise_not_implemented(_):
    raise NotImplementedError


IMAGE_CONFIGS = {
    "vit": transformers.ViTConfig(image_size=32, patch_size=8, **SIZES),
    "resnet": transformers.ResNetConfig(embedding_size=8, layer_type="basic", **STAGES),
    "convnext": transformers.ConvNextConfig(num_stages=2, **STAGES),
    "swin": transformers.SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
    ),
    "mobilevit": transformers.MobileViTConfig(image_size=32, neck_hidden_sizes=[8] * 6 + [24]),
}


@pytest.mark.parametrize("kind", IMAGE_CONFIGS)
def test_width_is_that_of_the_patches(kind):
    encoder = transformers.AutoModel.from_config(IMAGE_CONFIGS[kind]).eval()
    with torch.no_grad():
        patches = image_tokens(encoder, torch.zeros(1, 3, 32, 32))
    assert patches.shape[-1] == token_width(encoder.config)


def test_an_untold_width_is_a_config_error():
    class Silent(transformers.PreTrainedConfig):
        model_type = "silent"

    with pytest.raises(ConfigError, match="'silent' does not state its hidden size"):
        token_width(Silent())


def test_frozen_features_are_rounded_to_half_precision_and_have_no_gradient():
    encoder = transformers.AutoModel.from_config(IMAGE_CONFIGS["vit"]).eval()
    count = 2 * FROZEN_MICRO_BATCH + 1
    pixels = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = frozen_image_tokens(encoder, pixels)
    assert not features.requires_grad
    assert features.dtype == torch.float32
    assert torch.equal(features, features.half().float())
    exact = encoder(pixel_values=pixels).last_hidden_state
    # Half precision keeps 11 bits: half a unit in the last place is 2^-11 of the value.
    torch.testing.assert_close(features, exact, rtol=2**-11, atol=1e-6)


def test_freezing_takes_gradients_and_dropout_away():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    freeze(module)
    assert not any(p.requires_grad for p in module.parameters())
    assert not any(part.training for part in module.modules())


POSITIONS = {
    "bert": (transformers.BertConfig(max_position_embeddings=16, **WORDS), 16),
    "distilbert": (
        transformers.DistilBertConfig(
            vocab_size=30, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=16
        ),
        16,
    ),
    # Positions of RoBERTa begin after the number of its padding token.
    "roberta": (
        transformers.RobertaConfig(max_position_embeddings=16, pad_token_id=1, **WORDS),
        14,
    ),
    "roberta, other padding": (
        transformers.RobertaConfig(max_position_embeddings=16, pad_token_id=0, **WORDS),
        15,
    ),
    "mpnet": (transformers.MPNetConfig(max_position_embeddings=16, pad_token_id=1, **WORDS), 14),
    "clip": (
        transformers.CLIPTextConfig(
            max_position_embeddings=16, bos_token_id=1, eos_token_id=2, **WORDS
        ),
        16,
    ),
    "gpt2": (
        transformers.GPT2Config(
            vocab_size=30,
            n_embd=32,
            n_layer=3,
            n_head=4,
            n_positions=16,
            bos_token_id=1,
            eos_token_id=2,
        ),
        16,
    ),
    "deberta": (
        transformers.DebertaV2Config(
            max_position_embeddings=16,
            position_biased_input=False,
            relative_attention=True,
            **WORDS,
        ),
        None,
    ),
    "xlnet": (
        transformers.XLNetConfig(vocab_size=30, d_model=32, n_layer=2, n_head=4, d_inner=48),
        None,
    ),
}


@pytest.mark.parametrize("kind", POSITIONS)
def test_the_longest_text_is_found_for_every_kind_of_positions(kind):
    config, most = POSITIONS[kind]
    encoder = transformers.AutoModel.from_config(copy.deepcopy(config)).eval()
    state = torch.get_rng_state()
    for wanted in (3, 14, 17, 40):
        found = most_tokens(functools.partial(reads_text_of, encoder), wanted)
        assert found == (wanted if most is None else min(most, wanted))
    assert torch.equal(torch.get_rng_state(), state), "training would draw other numbers"


@given(most=st.integers(1, 50), wanted=st.integers(1, 60))
def test_the_longest_text_is_found_by_trying(most, wanted):
    assert most_tokens(lambda length: length <= most, wanted) == min(most, wanted)


def test_what_reads_no_text_at_all_is_not_limited():
    assert most_tokens(lambda _: False, 9) == 9
