"""Text-guided fusion: the formula step by step, and what it must not depend on."""

import pytest
import torch
from torch.nn import functional as F

from mvcn.errors import ConfigError
from mvcn.nn.fusion import EqualFusion, EqualUnit, TextGuidedFusion, TextGuidedUnit

TEXT_MASK = torch.arange(6) < torch.tensor([6, 3, 2]).unsqueeze(1)
IMAGE_MASK = torch.arange(4) < torch.tensor([4, 2, 4]).unsqueeze(1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomize(module):
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed) * 0.3)
    return module.double().eval()


def build(attention="sparsemax", num_units=2, dropout=0.1):
    return randomize(TextGuidedFusion(num_units, 12, 3, 20, dropout, attention).double())


def test_unit_follows_the_formula():
    unit = randomize(TextGuidedUnit(12, 3, 20, 0.1, "sparsemax").double())
    text, image = normal(3, 6, 12), normal(3, 4, 12, seed=1)
    actual, _ = unit(text, image, TEXT_MASK, IMAGE_MASK)

    def norm(layer, x):
        deviation = x - x.mean(-1, keepdim=True)
        variance = deviation.square().mean(-1, keepdim=True)
        return deviation / (variance + 1e-5).sqrt() * layer.weight + layer.bias

    x = norm(unit.self_attention_norm, text + unit.self_attention(text, text, TEXT_MASK)[0])
    x = norm(unit.image_attention_norm, x + unit.image_attention(x, image, IMAGE_MASK)[0])
    first, last = unit.feedforward[0], unit.feedforward[-1]
    x = norm(unit.feedforward_norm, x + last(F.gelu(first(x))))
    torch.testing.assert_close(actual, x, atol=1e-12, rtol=0)


def test_units_are_stacked_on_the_same_image():
    fusion, text, image = build(), normal(3, 6, 12), normal(3, 4, 12, seed=1)
    expected, first = fusion.units[0](text, image, TEXT_MASK, IMAGE_MASK, return_weights=True)
    expected, second = fusion.units[1](expected, image, TEXT_MASK, IMAGE_MASK, return_weights=True)
    actual, weights = fusion(text, image, TEXT_MASK, IMAGE_MASK, return_weights=True)
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)
    torch.testing.assert_close(weights, (first, second), atol=0, rtol=0)


def test_gives_no_weights_unless_asked():
    _, weights = build()(normal(3, 6, 12), normal(3, 4, 12))
    assert weights == ()


@pytest.mark.parametrize("attention", ["softmax", "sparsemax"])
def test_padding_and_batch_mates_change_nothing(attention):
    fusion, text, image = build(attention), normal(3, 6, 12), normal(3, 4, 12, seed=1)
    together, weights = fusion(text, image, TEXT_MASK, IMAGE_MASK, return_weights=True)
    for index, (tokens, patches) in enumerate([(6, 4), (3, 2), (2, 4)]):
        alone, alone_weights = fusion(
            text[index : index + 1, :tokens],
            image[index : index + 1, :patches],
            return_weights=True,
        )
        torch.testing.assert_close(together[index, :tokens], alone[0], atol=1e-12, rtol=0)
        for padded, bare in zip(weights, alone_weights, strict=True):
            torch.testing.assert_close(
                padded[index, :, :tokens, :patches], bare[0], atol=1e-12, rtol=0
            )


def test_content_of_padding_changes_nothing():
    fusion, text, image = build(), normal(3, 6, 12), normal(3, 4, 12, seed=1)
    other_text = torch.where(TEXT_MASK.unsqueeze(-1), text, 100)
    other_image = torch.where(IMAGE_MASK.unsqueeze(-1), image, 100)
    expected, _ = fusion(text, image, TEXT_MASK, IMAGE_MASK)
    actual, _ = fusion(other_text, other_image, TEXT_MASK, IMAGE_MASK)
    torch.testing.assert_close(actual[TEXT_MASK], expected[TEXT_MASK], atol=1e-12, rtol=0)


def test_a_post_without_an_image_does_not_depend_on_pixels():
    fusion, text = build(), normal(2, 6, 12)
    no_image = torch.zeros(2, 4, dtype=torch.bool)
    first, _ = fusion(text, normal(2, 4, 12, seed=1), image_mask=no_image)
    second, _ = fusion(text, normal(2, 4, 12, seed=2), image_mask=no_image)
    assert first.isfinite().all()
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_the_image_matters():
    fusion, text = build(), normal(2, 6, 12)
    first, _ = fusion(text, normal(2, 4, 12, seed=1))
    second, _ = fusion(text, normal(2, 4, 12, seed=2))
    assert (first - second).abs().max() > 1e-3


def test_ablation_only_sparsemax_leaves_patches_out():
    text, image = normal(3, 6, 12), normal(3, 4, 12, seed=1)
    _, sparse = build("sparsemax")(text, image, return_weights=True)
    _, dense = build("softmax")(text, image, return_weights=True)
    for weights in (*sparse, *dense):
        torch.testing.assert_close(weights.sum(-1), weights.new_ones(3, 3, 6), atol=1e-12, rtol=0)
    assert all((weights == 0).any() for weights in sparse)
    assert all((weights > 0).all() for weights in dense)


def test_dropout_leaves_sparse_weights_on_the_simplex():
    fusion = build(dropout=0.5).train()
    torch.manual_seed(0)
    _, weights = fusion(normal(3, 6, 12), normal(3, 4, 12, seed=1), return_weights=True)
    for unit_weights in weights:
        torch.testing.assert_close(
            unit_weights.sum(-1), unit_weights.new_ones(3, 3, 6), atol=1e-12, rtol=0
        )


def test_every_parameter_gets_a_gradient():
    fusion = build()
    text, _ = fusion(normal(3, 6, 12), normal(3, 4, 12, seed=1), TEXT_MASK, IMAGE_MASK)
    (text * normal(3, 6, 12, seed=2)).sum().backward()
    without = {name for name, p in fusion.named_parameters() if p.grad is None}
    flat = {name for name, p in fusion.named_parameters() if not p.grad.abs().sum() > 0}
    assert without == flat - {name for name in flat if name.endswith("key.bias")} == set()


def test_needs_a_unit():
    with pytest.raises(ConfigError, match="at least 1 unit"):
        TextGuidedFusion(0, 12, 3, 20, 0.1)


def test_equal_unit_agrees_with_torch_s_encoder_layer():
    unit = randomize(EqualUnit(12, 3, 20, 0.1))
    layer = torch.nn.TransformerEncoderLayer(12, 3, 20, 0.1, F.gelu, batch_first=True).double()
    attention = unit.self_attention
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = [
                getattr(part, name) for part in (attention.query, attention.key, attention.value)
            ]
            getattr(layer.self_attn, f"in_proj_{name}").copy_(torch.cat(parts))
            for theirs, ours in (
                (layer.self_attn.out_proj, attention.out),
                (layer.linear1, unit.feedforward[0]),
                (layer.linear2, unit.feedforward[-1]),
                (layer.norm1, unit.self_attention_norm),
                (layer.norm2, unit.feedforward_norm),
            ):
                getattr(theirs, name).copy_(getattr(ours, name))
        tokens = normal(3, 6, 12)
        expected = layer.eval()(tokens, src_key_padding_mask=~TEXT_MASK)
        actual = unit(tokens, TEXT_MASK)
    torch.testing.assert_close(actual[TEXT_MASK], expected[TEXT_MASK], atol=1e-12, rtol=0)


def test_equal_fusion_reads_text_and_image_in_one_row():
    fusion = randomize(EqualFusion(2, 12, 3, 20, 0.1))
    text, image = normal(3, 6, 12), normal(3, 4, 12, seed=1)
    tokens, mask = fusion(text, image, TEXT_MASK, IMAGE_MASK)
    row = torch.cat([text, image], 1)
    for unit in fusion.units:
        row = unit(row, mask)
    assert torch.equal(mask, torch.cat([TEXT_MASK, IMAGE_MASK], 1))
    torch.testing.assert_close(tokens, row, atol=0, rtol=0)
    turned, _ = fusion(text, image.flip(1), TEXT_MASK, IMAGE_MASK.flip(1))
    torch.testing.assert_close(turned[:, :6], tokens[:, :6], atol=1e-12, rtol=0)


def test_equal_fusion_needs_a_unit():
    with pytest.raises(ConfigError, match="at least 1 unit, not 0"):
        EqualFusion(0, 12, 3, 20, 0.1)
