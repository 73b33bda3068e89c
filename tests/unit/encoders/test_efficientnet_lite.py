"""EfficientNet-Lite as a Hugging Face model."""

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from mvcn.encoders import loading  # noqa: F401 (registers the model)
from mvcn.encoders.efficientnet_lite import (
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
    SamePadConv2d,
)

SMALL = {
    "stem_channels": 8,
    "stages": [[1, 3, 1, 1, 8], [2, 5, 2, 6, 12]],
    "hidden_size": 20,
    "image_size": 32,
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return EfficientNetLiteModel(EfficientNetLiteConfig(**SMALL)).eval()


@pytest.fixture
def pixels():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_saving_and_loading_is_exact(model, pixels, tmp_path):
    model.save_pretrained(tmp_path)
    for loader in (EfficientNetLiteModel, AutoModel):
        loaded = loader.from_pretrained(tmp_path)
        assert isinstance(loaded, EfficientNetLiteModel)
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
        tokens = loaded(pixel_values=pixels).last_hidden_state
        assert torch.equal(tokens, model(pixel_values=pixels).last_hidden_state)
    assert AutoConfig.from_pretrained(tmp_path).stages == SMALL["stages"]


def test_tokens_are_the_cells_row_by_row(model, pixels):
    tokens = model(pixel_values=pixels).last_hidden_state
    assert tokens.shape == (2, 8 * 8, 20)  # strides 2 (stem), 1, 2: 32 / 4 cells a side
    changed = pixels.clone()
    changed[:, :, :4, -4:] += 1  # the upper right corner
    difference = (model(pixel_values=changed).last_hidden_state - tokens).abs().amax((0, 2))
    assert difference.argmax() == 7
    assert difference[-8] == 0  # the lower left one


def test_gradients_do_not_depend_on_clamping_in_place(model, pixels):
    with torch.no_grad():
        plain = model(pixel_values=pixels).last_hidden_state
    tokens = model(pixel_values=pixels).last_hidden_state
    assert torch.equal(tokens.detach(), plain)
    tokens.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (8, 5, 2), (5, 3, 1)])
def test_padding_gives_as_many_outputs_as_strides_begin(size, kernel, stride):
    # TensorFlow's "same": ceil(size / stride) outputs; an odd pixel of padding goes to the end.
    torch.manual_seed(0)
    conv = SamePadConv2d(1, 1, kernel, stride)
    image = torch.rand(1, 1, size, size)
    count = -(-size // stride)
    total = max((count - 1) * stride + kernel - size, 0)
    before, after = total // 2, total - total // 2
    padded = F.pad(image, (before, after, before, after))
    expected = torch.stack(
        [
            (padded[0, 0, r : r + kernel, c : c + kernel] * conv.weight[0, 0]).sum() + conv.bias[0]
            for r in range(0, count * stride, stride)
            for c in range(0, count * stride, stride)
        ]
    )
    torch.testing.assert_close(conv(image).flatten(), expected, atol=1e-6, rtol=1e-5)
