"""Pictures of posts and spaces whatever their classes and words are called."""

import numpy as np
import pytest
import torch
from PIL import Image

from mvcn.explain.figures import draw_maps, draw_post, heat_map
from mvcn.explain.observation import Space
from mvcn.explain.post import Explanation, Neighbour, Word
from mvcn.types import Post

ODD = ("$\\bad$", "_hidden", "<b>bold & 'quoted'", "x" * 40)
MANY = (*ODD, *(f"class {k}" for k in range(20)))


@pytest.mark.parametrize("names", [ODD, MANY])
def test_any_names_of_classes_are_drawn(names, generated_posts):
    post = Post("$\\odd$", "words", generated_posts[0].image, names[0])
    explanation = Explanation(
        post,
        dict.fromkeys(names, 1 / len(names)),
        [Word("$\\word$", 0.5, 1.0, torch.full((4,), 0.25))],
        torch.tensor([0.5, -0.5, 0, 0]),
        "occlusion",
        {"sparsemax": torch.full((4,), 0.25)},
        dict.fromkeys(names, 1.0),
        [Neighbour(post, 1.0)],
    )
    assert draw_post(explanation).startswith(b"\x89PNG")
    labels = np.arange(2 * len(names)) % len(names)
    space = Space(np.random.default_rng(0).normal(size=(len(labels), 3)), labels, names)
    assert draw_maps({"$\\run$": space}).startswith(b"\x89PNG")


def test_an_image_of_which_no_part_matters_stays_pale():
    grey, saliency = Image.new("RGB", (64, 64), (128, 128, 128)), torch.tensor([0.02, -0.02, 0, 0])
    strong, small = (
        heat_map(grey, saliency, "occlusion"),
        heat_map(grey, saliency / 20, "occlusion"),
    )
    assert _saturation(small) < _saturation(strong) / 2
    assert heat_map(grey, 10 * saliency, "occlusion") == strong
    assert heat_map(grey, saliency / 20, "gradient") == strong  # which has no unit


def _saturation(picture):
    return np.asarray(picture.convert("HSV"))[..., 1].mean()
