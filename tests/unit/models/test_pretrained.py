"""What all models around encoders share: here, checkpoints of layers."""

import pytest
import torch

from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from tests import tiny_encoders


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=pytest.mark.timm) for name in tiny_encoders.TIMM],
)
@pytest.mark.parametrize("network", ["mvcn", "resnet"])
def test_checkpoints_of_timms_layers_change_no_gradient(
    network, architecture, tiny_settings, tmp_path
):
    tiny_encoders.save(tiny_encoders.IMAGES_OF_TIMM[architecture](), tmp_path)
    settings = {"image_encoder": str(tmp_path), "network": network, "freeze_image_encoder": False}
    model = build_model(ModelConfig(**tiny_settings | settings), ("a", "b")).eval()
    ids, pixels = torch.tensor([[2, 7, 8]] * 2), torch.randn(2, 3, 32, 32)
    gradients, kept = [], []
    for _ in range(2):
        model.zero_grad()
        held = set()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda one, held=held: held.add(one.data_ptr()) or one, lambda one: one
        ):
            total = model(ids, pixel_values=pixels).logits.square().sum()
        total.backward()
        kept.append(len(held))
        gradients.append({n: w.grad for n, w in model.named_parameters() if w.grad is not None})
        model.activation_checkpointing_enable()
    assert model.can_recompute_layers
    assert kept[1] < kept[0]
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5)
