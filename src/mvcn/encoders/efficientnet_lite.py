"""EfficientNet-Lite as a Hugging Face vision encoder, with batch normalisation folded in.

Its statistics never change here, as an encoder is frozen or fine-tuned on batches too small to
re-estimate them, so each normalisation is a scale and shift of the preceding convolution.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

BATCH_NORM_EPS = 1e-3

# Lite0's inverted residuals: repeats, kernel size, first stride, expansion, output channels.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@no_type_check  # Hugging Face generates a constructor with undeclared keywords
class EfficientNetLiteConfig(PreTrainedConfig):
    """Sizes of an EfficientNet-Lite; the defaults are Lite0's."""

    model_type = "efficientnet-lite"

    stem_channels: int = 32
    stages: list[list[int]] | None = None
    """Rows of repeats, kernel size, first stride, expansion, output channels; None is Lite0."""
    hidden_size: int = 1280
    """Channels of a token."""
    image_size: int = 224
    """Side in pixels; a token covers 32 by 32 pixels."""


class SamePadConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: odd pixels go to the right and bottom."""

    def forward(
        self, input: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch out_channel out_height out_width"]:
        """Pad, then convolve."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        pads = [
            max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[2:]
        ]
        low, high = [pad // 2 for pad in pads], [pad - pad // 2 for pad in pads]
        if low == high:
            return F.conv2d(input, self.weight, self.bias, stride, low, groups=self.groups)
        padded = F.pad(input, (low[1], high[1], low[0], high[0]))
        return F.conv2d(padded, self.weight, self.bias, stride, groups=self.groups)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input if the shape is unchanged."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        self.has_skip = stride == 1 and in_channels == out_channels
        self.expand = SamePadConv2d(in_channels, width, 1) if expansion > 1 else None
        self.depthwise = SamePadConv2d(width, width, kernel_size, stride, groups=width)
        self.project = SamePadConv2d(width, out_channels, 1)

    def forward(
        self, image: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch out_channel out_height out_width"]:
        """Return the block's feature map."""
        hidden = image if self.expand is None else _relu6(self.expand(image))
        hidden = self.project(_relu6(self.depthwise(hidden)))
        result: Tensor = hidden + image if self.has_skip else hidden
        return result


class EfficientNetLiteModel(PreTrainedModel):
    """The feature extractor of EfficientNet-Lite: one token per cell of 32 by 32 pixels.

    Source:
        Tan & Le, ICML 2019 (EfficientNet); the Lite variants have no squeeze-and-excitation, use
        ReLU6, and keep the sizes of stem and head. Deviation: batch normalisation is folded in.
    """

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ("InvertedResidual",)

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = SamePadConv2d(3, config.stem_channels, 3, 2)
        self.blocks = nn.Sequential(*_blocks(config))
        last_channels = (config.stages or LITE0_STAGES)[-1][-1]
        self.head = SamePadConv2d(last_channels, config.hidden_size, 1)
        self.post_init()

    def forward(self, pixel_values: Float[Tensor, "batch channel height width"]) -> BaseModelOutput:
        """Return ``last_hidden_state`` (batch, patch, dim), patches row by row."""
        image = pixel_values.contiguous(memory_format=torch.channels_last)
        feature_map = _relu6(self.head(self.blocks(_relu6(self.stem(image)))))
        return BaseModelOutput(last_hidden_state=feature_map.flatten(2).transpose(1, 2))


def load_published_weights(checkpoint: Path) -> EfficientNetLiteModel:
    """Return Lite0 with the weights of a published ``.pth`` file, normalisation folded in."""
    published = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    _fold(model.stem, published, "_conv_stem", "_bn0")
    for index, block in enumerate(model.blocks.children()):
        assert isinstance(block, InvertedResidual)  # for the type checker
        prefix = f"_blocks.{index}."
        if block.expand is not None:
            _fold(block.expand, published, prefix + "_expand_conv", prefix + "_bn0")
        _fold(block.depthwise, published, prefix + "_depthwise_conv", prefix + "_bn1")
        _fold(block.project, published, prefix + "_project_conv", prefix + "_bn2")
    _fold(model.head, published, "_conv_head", "_bn1")
    model.eval().to(memory_format=torch.channels_last)
    return model


def _blocks(config: EfficientNetLiteConfig) -> list[InvertedResidual]:
    blocks, channels = [], config.stem_channels
    for repeats, kernel_size, stride, expansion, out_channels in config.stages or LITE0_STAGES:
        for index in range(repeats):
            step = stride if index == 0 else 1
            blocks.append(InvertedResidual(channels, out_channels, kernel_size, step, expansion))
            channels = out_channels
    return blocks


def _fold(conv: nn.Conv2d, published: Mapping[str, Tensor], name: str, norm: str) -> None:
    weight, bias = fuse_conv_bn_weights(
        published[f"{name}.weight"],
        None,
        published[f"{norm}.running_mean"],
        published[f"{norm}.running_var"],
        BATCH_NORM_EPS,
        published[f"{norm}.weight"],
        published[f"{norm}.bias"],
    )
    conv.load_state_dict({"weight": weight, "bias": bias})


def _relu6(feature_map: Tensor) -> Tensor:
    """Clamp in place if no gradient needs the input: memory traffic dominates the cost."""
    return F.relu6(feature_map, inplace=not torch.is_grad_enabled())
