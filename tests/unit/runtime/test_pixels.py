"""The short way to an image's pixels gives what the image processor gives, bit for bit."""

import json

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip import CLIPImageProcessorPil
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
}


def picture(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype="uint8")
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(7, 300), (224, 224), (500, 333)])
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
        CLIPImageProcessorPil(),
        ViTImageProcessorPil(do_resize=False),
        ViTImageProcessorPil(size={"shortest_edge": 32}),
    ],
    ids=["crops", "does not resize", "keeps the proportions"],
)
def test_leaves_other_processors_alone(processor):
    assert not Pixels.supports(json.loads(processor.to_json_string()))
