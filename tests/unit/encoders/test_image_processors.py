"""Image processors made of what others publish: the pixels are the same."""

import json

import numpy as np
import pytest
from PIL import Image

from mvcn.encoders.image_processors import processor_of_timm
from mvcn.encoders.loading import load_image_processor
from mvcn.errors import ConfigError
from mvcn.runtime.pixels import Pixels

SETTINGS = {
    "input_size": (3, 32, 32),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 1.0,
    "crop_mode": "squash",
}


def photo(width, height):
    """Return an image with slopes, edges and noise."""
    rows, columns = np.mgrid[:height, :width]
    slopes = np.stack([rows * 2, columns, rows + columns], -1) + 80 * (columns > rows)[..., None]
    noise = np.random.default_rng(0).integers(0, 30, (height, width, 3))
    return Image.fromarray((slopes + noise).clip(0, 255).astype(np.uint8))


def by_timm(settings, image):
    """Return what timm's own transform for evaluation makes of an image."""
    from timm.data import create_transform, resolve_data_config

    data = resolve_data_config({}, pretrained_cfg=settings)
    return create_transform(**data, is_training=False)(image).numpy()


def by_saved(settings, folder, image):
    """Return what the processor makes of it for a checkpoint as timm saves it on the hub."""
    content = {"architecture": "test_vit", "num_classes": 7, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(content), "utf-8")
    processor = load_image_processor(str(folder))
    return processor(images=image, return_tensors="np").pixel_values[0]


@pytest.mark.timm
@pytest.mark.parametrize("size", [(92, 61), (64, 64), (40, 123)])
@pytest.mark.parametrize(
    "changes",
    [
        {"crop_mode": "center", "crop_pct": 0.88},
        {"crop_mode": "center", "interpolation": "bilinear", "mean": [0.5] * 3},
        {"crop_mode": "center", "crop_pct": 0.95, "interpolation": "lanczos"},
        {"crop_pct": 0.94, "std": [0.5] * 3},
        {"interpolation": "nearest"},
        {"input_size": (3, 24, 48)},
    ],
)
def test_pixels_are_those_of_timms_own_transform(changes, size, tmp_path):
    settings, image = SETTINGS | changes, photo(*size)
    found = by_saved(settings, tmp_path, image)
    np.testing.assert_allclose(found, by_timm(settings, image), rtol=0, atol=1e-6)


@pytest.mark.timm
def test_what_a_checkpoint_does_not_state_is_as_in_timm(tmp_path):
    settings, image = {"input_size": [3, 64, 64], "crop_pct": None}, photo(91, 61)
    found = by_saved(settings, tmp_path, image)
    np.testing.assert_allclose(found, by_timm(settings, image), rtol=0, atol=1e-6)


@pytest.mark.timm
def test_where_three_more_than_a_multiple_of_four_is_cut_off_the_crop_is_a_pixel_off(tmp_path):
    """35 - 32 = 3 rows and columns: 1 at the top and left here, 2 there."""
    settings, image = SETTINGS | {"crop_pct": 0.9}, photo(64, 64)
    found, theirs = by_saved(settings, tmp_path, image), by_timm(settings, image)
    np.testing.assert_allclose(found[:, 1:, 1:], theirs[:, :-1, :-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"crop_pct": 0.9}, {"crop_mode": "squash"}])
def test_prediction_needs_no_library_of_images(changes):
    assert Pixels.supports(processor_of_timm(SETTINGS | changes, "x").to_dict())


@pytest.mark.parametrize(
    "changes", [{"crop_mode": "border"}, {"crop_mode": "center", "input_size": (3, 24, 32)}]
)
def test_another_way_to_crop_is_refused(changes):
    with pytest.raises(ConfigError, match=r"'x' crops to .*, but only 'squash', or 'center' to a"):
        processor_of_timm(SETTINGS | changes, "x")
