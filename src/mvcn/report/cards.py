"""What a report shows of single posts."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from mvcn.data.images import already_warned, open_image
from mvcn.explain.figures import blend_saliency
from mvcn.explain.post import Explanation, Word

THUMBNAIL_PX = 224
JPEG_QUALITY = 75


@dataclass(frozen=True, slots=True)
class Card:
    """One post with its explanation, ready for the page."""

    id: str
    label: str
    predicted: str
    probabilities: Mapping[str, float]
    words: Sequence[tuple[str, float]]
    """Each word, with -1 (against the predicted class) to 1 (for it)."""
    image: str
    """A small JPEG as a data address; empty without an image."""
    heat: str
    """The same, with what speaks for and against the predicted class."""
    neighbours: str


def card(explanation: Explanation) -> Card:
    """Return what is shown of one post."""
    image, heat = _pictures(explanation)
    return Card(
        explanation.post.id,
        str(explanation.post.label),
        explanation.predicted,
        explanation.probabilities,
        _scaled(explanation.words),
        image,
        heat,
        ", ".join(f"{near.post.id} ({near.post.label})" for near in explanation.neighbours),
    )


def _scaled(words: Sequence[Word]) -> list[tuple[str, float]]:
    peak = max((abs(word.saliency) for word in words), default=0.0) or 1.0
    return [(word.text, word.saliency / peak) for word in words]


def _pictures(explanation: Explanation) -> tuple[str, str]:
    if explanation.post.image is None or explanation.saliency is None:
        return "", ""
    picture = open_image(explanation.post.image, THUMBNAIL_PX, already_warned)
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture.convert("RGB")) / 255
    mixed = blend_saliency(pixels, explanation.saliency)
    heat = Image.fromarray((255 * mixed).round().astype(np.uint8))
    return _data_address(picture.convert("RGB")), _data_address(heat)


def _data_address(picture: Image.Image) -> str:
    picture.save(stream := BytesIO(), "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
