"""The frozen lower layers of a text encoder, run once, give what the whole encoder gives."""

import pytest
import torch
import transformers

from mvcn.encoders.tokens import (
    FrozenTextEncoder,
    FrozenTextLayers,
    freeze,
    lowest_layers,
    most_lower_layers,
    text_embeddings,
    text_tokens,
)
from mvcn.errors import ConfigError

SIZES = {
    "vocab_size": 30,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
CONFIGS = {
    "bert": transformers.BertConfig(**SIZES),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=30, dim=32, n_layers=3, n_heads=4, hidden_dim=48
    ),
    "mpnet": transformers.MPNetConfig(**SIZES),
    "electra": transformers.ElectraConfig(embedding_size=16, **SIZES),
    "deberta": transformers.DebertaV2Config(conv_kernel_size=3, relative_attention=True, **SIZES),
    "modernbert": transformers.ModernBertConfig(**SIZES, pad_token_id=0, cls_token_id=1),
}
IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
# A parameter that is trained takes part in the frozen layers of these: a table of relative
# positions, a projection of the embeddings, a convolution.
NOT_CONSTANT = {("mpnet", 1), ("mpnet", 2), ("mpnet", 3)}
NOT_CONSTANT |= {("electra", 1), ("electra", 2), ("electra", 3), ("deberta", 2), ("deberta", 3)}
ALL = [(kind, count) for kind in CONFIGS for count in (1, 2, 3)]
cases = pytest.mark.parametrize(("kind", "count"), ALL)
constant = pytest.mark.parametrize(
    ("kind", "count"), [case for case in ALL if case not in NOT_CONSTANT]
)


def build(kind, count):
    torch.manual_seed(0)
    encoder = transformers.AutoModel.from_config(CONFIGS[kind]).train()
    encoder.requires_grad_(True)
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for part in (text_embeddings(encoder), *lowest_layers(encoder, count)):
        freeze(part)
    return encoder


def gradients(encoder, tokens):
    if not tokens.requires_grad:  # all layers are frozen
        return {}
    encoder.zero_grad()
    tokens[MASK.bool()][:, 0].square().sum().backward()  # not what a norm keeps
    return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


@cases
def test_it_is_known_whether_training_changes_them(kind, count):
    encoder = build(kind, count)
    frozen = FrozenTextLayers(encoder, count)
    before = frozen.states(IDS, MASK)
    for name, gradient in gradients(encoder, text_tokens(encoder, IDS, MASK)).items():
        encoder.get_parameter(name).data.sub_(gradient)
    assert torch.equal(frozen.states(IDS, MASK), before) == frozen.are_constant
    assert frozen.are_constant == ((kind, count) not in NOT_CONSTANT)


@constant
def test_tokens_and_gradients_are_those_of_the_whole_encoder(kind, count):
    encoder = build(kind, count)
    whole = text_tokens(encoder, IDS, MASK)
    expected = gradients(encoder, whole)
    frozen = FrozenTextLayers(encoder, count)
    states = frozen.states(IDS, MASK)
    tokens = frozen.tokens(states, IDS, MASK)
    torch.testing.assert_close(tokens, whole, rtol=0, atol=1e-6)
    found = gradients(encoder, tokens)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


@cases
def test_the_lower_layers_are_not_run_again_and_come_back(kind, count):
    encoder, calls = build(kind, count), []
    frozen = FrozenTextLayers(encoder, count)
    states = frozen.states(IDS, MASK)
    inner = next(iter(lowest_layers(encoder, count)[-1].children()))
    hook = inner.register_forward_hook(lambda *_: calls.append(None))
    frozen.tokens(states, IDS, MASK)
    assert not calls
    text_tokens(encoder, IDS, MASK)
    assert calls
    hook.remove()


def test_layers_come_back_after_an_error():
    encoder = build("bert", 2)
    frozen = FrozenTextLayers(encoder, 2)
    states = frozen.states(IDS, MASK)
    with pytest.raises(RuntimeError):
        frozen.tokens(states[..., :5], IDS, MASK)
    torch.testing.assert_close(frozen.states(IDS, MASK), states)


def test_more_layers_than_there_are_is_a_config_error():
    with pytest.raises(ConfigError, match="has 3 layers"):
        FrozenTextLayers(build("bert", 1), 4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_lower_layers_stand_before_the_last(kind):
    encoder = build(kind, 3).eval()
    states = encoder(input_ids=IDS, attention_mask=MASK, output_hidden_states=True).hidden_states
    found = text_tokens(encoder, IDS, MASK, lower_layers=2)
    torch.testing.assert_close(found[..., :64], torch.cat(states[1:3], -1), rtol=0, atol=0)
    torch.testing.assert_close(found[..., 64:], text_tokens(encoder, IDS, MASK), rtol=0, atol=0)
    torch.testing.assert_close(
        FrozenTextEncoder(encoder, 2).states(IDS, MASK), found, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(("frozen", "most"), [(0, 2), (1, 2), (2, 1), (3, 0)])
def test_layers_below_the_last_are_known(kind, frozen, most):
    encoder = build(kind, 1)
    assert most_lower_layers(encoder, frozen) == most
    layers = FrozenTextLayers(encoder, max(1, frozen), most)
    states = layers.states(IDS, MASK)
    found = layers.tokens(states, IDS, MASK)
    torch.testing.assert_close(found, text_tokens(encoder, IDS, MASK, most), rtol=0, atol=1e-6)
