"""Adapters change nothing at first, alone are trained, and are gone when merged."""

import pytest
import torch
from peft.tuners.lora import LoraLayer

from mvcn.errors import ConfigError
from mvcn.model_config import ModelConfig
from mvcn.models.adapters import has_adapters, merge_adapters, without_frozen
from mvcn.models.build import build_model
from tests import tiny_encoders

CLASSES = ("a", "b", "c")
FAMILIES = ["bert", "deberta-v2", "gpt2", "llama", "t5", "clip_text_model"]
OF_TIMM = ["test_vit", "test_convnext", "swin_tiny_patch4_window7_224"]


def build(settings, **changes):
    torch.manual_seed(0)
    return build_model(ModelConfig(**settings | changes), CLASSES).eval()


def with_ranks(text=0, image=0):
    return {
        "text_adapter": {"rank": text},
        "image_adapter": {"rank": image},
        "freeze_image_encoder": not image,
    }


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return {
        "input_ids": torch.randint(5, 70, (4, 9), generator=generator),
        "attention_mask": torch.ones(4, 9, dtype=torch.long),
        "pixel_values": torch.randn(4, 3, 32, 32, generator=generator),
    }


def logits(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits


def learn(model, batch, steps=3):
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model.train()(**batch).logits.square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("text", name) for name in FAMILIES),
        *(pytest.param("image", name, marks=pytest.mark.timm) for name in OF_TIMM),
    ],
)
def test_they_are_trained_alone_and_merged_they_give_the_same(
    kind, name, batch, tiny_settings, tiny_text_encoder, tmp_path
):
    config = (tiny_encoders.TEXTS | tiny_encoders.IMAGES_OF_TIMM)[name]()
    tiny_encoders.save(config, tmp_path, tiny_text_encoder)
    settings = tiny_settings | {f"{kind}_encoder": str(tmp_path), "dropout": 0.0}
    plain = build(settings, freeze_image_encoder=False)
    model = build(settings, **with_ranks(4, 2))
    torch.testing.assert_close(logits(model, batch), logits(plain, batch), atol=0, rtol=0)
    encoders = {n: w for n, w in model.named_parameters() if "_encoder." in n}
    assert all(weight.requires_grad == (".lora_" in name) for name, weight in encoders.items())
    before = {name: weight.clone() for name, weight in encoders.items()}
    learn(model, batch)
    changed = {name for name, weight in encoders.items() if not torch.equal(weight, before[name])}
    assert {name for name in encoders if ".lora_B" in name} <= changed
    assert all(".lora_" in name for name in changed)
    expected = logits(model, batch)
    assert (expected - logits(plain, batch)).abs().max() > 1e-3
    merge_adapters(model)
    torch.testing.assert_close(logits(model, batch), expected, atol=1e-5, rtol=0)
    assert not has_adapters(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(model.state_dict(), strict=False)  # T5 has a weight by two names
    assert torch.equal(logits(plain, batch), logits(model, batch))


def test_what_is_merged_is_what_training_has_changed(tiny_settings, batch):
    plain = build(tiny_settings)
    model = build(tiny_settings, **with_ranks(text=4))
    learn(model, batch)
    merge_adapters(model)
    other = build(tiny_settings)
    other.load_state_dict(model.trained_weights(), strict=False)
    assert torch.equal(logits(other, batch), logits(model, batch))
    assert not torch.equal(logits(plain, batch), logits(model, batch))


def test_a_checkpoint_holds_them_and_not_the_weights_below(tiny_settings):
    model = build(tiny_settings, **with_ranks(text=1))
    kept, all_of_it = without_frozen(model), model.state_dict()
    assert {name for name in kept if name.startswith("text_encoder.")} == {
        name for name in all_of_it if ".lora_" in name
    }
    assert not any(name.startswith("image_encoder.") for name in kept)
    of_network = {name for name in all_of_it if name.startswith("network.")}
    assert of_network <= kept.keys()


def test_layers_below_stay_frozen(tiny_settings, batch):
    model = build(tiny_settings, frozen_text_layers=1, **with_ranks(text=4))
    layers = [name for name, one in model.named_modules() if isinstance(one, LoraLayer)]
    assert any(".layer.0." in name for name in layers)
    learn(model, batch)
    before = build(tiny_settings, frozen_text_layers=1)
    merge_adapters(model)
    changed = {
        name
        for name, weight in before.text_encoder.state_dict().items()
        if not torch.equal(weight, model.text_encoder.state_dict()[name])
    }
    assert changed
    assert all(name.startswith("encoder.layer.1.") for name in changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"text_adapter": {"rank": 2}, "frozen_text_layers": "all"},
            r"'model.text_adapter.rank' is 2, but .* is frozen: set model.frozen_text_layers to 0",
        ),
        (
            {"image_adapter": {"rank": 2}, "network": "bert"},
            "'model.image_adapter.rank' is 2, but model 'bert' has no image encoder: set it to 0",
        ),
        (
            {"image_adapter": {"rank": 2}},
            r"'model.image_adapter.rank' is 2, but .*: set model.freeze_image_encoder to false",
        ),
    ],
)
def test_of_an_encoder_that_does_not_learn_they_are_refused(changes, message, tiny_settings):
    with pytest.raises(ConfigError, match=message):
        build(tiny_settings, **changes)


def test_an_encoder_without_linear_layers_has_none(tiny_settings):
    settings = tiny_settings | {"image_encoder": "efficientnet-lite0"}
    with pytest.raises(ConfigError, match=r"image encoder, .*, has no linear layer for an adapter"):
        build(settings, **with_ranks(image=2))
