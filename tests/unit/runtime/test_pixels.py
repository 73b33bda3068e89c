"""The short way to an image's pixels gives what the image processor gives, bit for bit."""

import json

import numpy as np
import pytest
from PIL import Image
from transformers.models.bit import BitImageProcessorPil
from transformers.models.clip import CLIPImageProcessorPil
from transformers.models.convnext import ConvNextImageProcessorPil
from transformers.models.deit import DeiTImageProcessorPil
from transformers.models.siglip import SiglipImageProcessorPil
from transformers.models.vit import ViTImageProcessorPil

from mvcn.encoders.loading import load_image_processor
from mvcn.runtime.pixels import Pixels

PROCESSORS = {
    "efficientnet-lite0": load_image_processor("efficientnet-lite0"),
    "usual": ViTImageProcessorPil(),
    "oblong, by channel": ViTImageProcessorPil(
        size={"height": 30, "width": 50}, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]
    ),
    "nearest": ViTImageProcessorPil(resample=0),
    "scaled alone": ViTImageProcessorPil(do_normalize=False),
    "shifted alone": ViTImageProcessorPil(do_rescale=False),
    "CLIP": CLIPImageProcessorPil(),
    "BiT, larger than the crop": BitImageProcessorPil(size={"shortest_edge": 235}),
    "DeiT, crop of a square": DeiTImageProcessorPil(),
    "SigLIP": SiglipImageProcessorPil(),
    "oblong crop": CLIPImageProcessorPil(crop_size={"height": 101, "width": 224}),
}


def picture(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype="uint8")
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(7, 300), (224, 224), (500, 333), (240, 641)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_gives_the_bits_of_the_image_processor(name, size):
    processor, image = PROCESSORS[name], picture(*size)
    settings = json.loads(processor.to_json_string())
    assert Pixels.supports(settings)
    (expected,) = processor(image, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(Pixels(settings)(image), expected, strict=True)


@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessorPil(crop_size={"height": 225, "width": 10}),
        CLIPImageProcessorPil(size={"shortest_edge": 224, "longest_edge": 300}),
        ViTImageProcessorPil(do_resize=False),
        ViTImageProcessorPil(size={"shortest_edge": 32}),
        ConvNextImageProcessorPil(),
    ],
    ids=["pads", "two limits", "does not resize", "keeps the proportions", "resizes otherwise"],
)
def test_leaves_other_processors_alone(processor):
    assert not Pixels.supports(json.loads(processor.to_json_string()))


def test_of_a_line_of_pixels_the_middle_is_resized_and_not_all_of_it():
    pixels = Pixels(json.loads(CLIPImageProcessorPil().to_json_string()))
    line = Image.new("RGB", (1_000_000, 1), "white")
    line.paste("black", (500_000, 0, 500_001, 1))
    found = pixels(line)
    assert found.shape == (3, 224, 224)
    assert np.ptp(found) > 1
