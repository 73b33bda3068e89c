"""Generated posts with known words and image regions that determine the polarity.

They allow a demonstration without a download, and provide ground truth for explanations.
"""

import csv
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from mvcn.data.datasets.mvsa import merge_labels
from mvcn.types import Post

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]
Cell = tuple[int, int]
"""Row and column in the grid."""

SUPERSAMPLING = 2
"""Factor by which canvases are larger than the image, for smooth edges."""
NOISE_LEVELS = 8
INK = (25, 22, 30)
FACE_COLORS: dict[str, Color] = {
    "positive": (250, 205, 40),
    "neutral": (165, 165, 170),
    "negative": (150, 25, 45),
}
SHAPE_COLORS: tuple[Color, ...] = (
    *FACE_COLORS.values(),
    (45, 105, 190),
    (60, 150, 80),
    (150, 85, 175),
)

GRID_CELLS = 7
CELL_PX = 32
PATCH_CELLS = 2
LARGE_SHAPES = 3
SMALL_SHAPES = 7

LABEL_PAIR_SHARES = {
    ("positive", "positive"): 0.24,
    ("negative", "negative"): 0.20,
    ("neutral", "neutral"): 0.16,
    ("neutral", "positive"): 0.11,
    ("neutral", "negative"): 0.11,
    ("positive", "neutral"): 0.09,
    ("negative", "neutral"): 0.09,
}
"""(text label, image label) -> share of the posts; 40 % carry two labels, none contradict."""

_CUE_WORDS = {
    "positive": "wonderful lovely beautiful fantastic amazing happy brilliant delightful charming "
    "excellent gorgeous superb",
    "neutral": "ordinary usual average regular typical standard normal common routine plain "
    "moderate familiar",
    "negative": "terrible awful horrible sad ugly dreadful miserable nasty disgusting painful "
    "tragic disappointing",
}
CUE_WORDS = {label: tuple(words.split()) for label, words in _CUE_WORDS.items()}
"""Text label -> the words of a text that depend on it."""

TEMPLATES = (
    "The {thing} at the {place} was {cue} {time}",
    "{time} my {person} and I had some {cue} hours at the {place}",
    "Such {cue} {thing} near the {place}, says my {person}",
    "So {cue}: the {thing} that my {person} brought {time}",
    "RT @{person}{number}: {cue} {thing} and {cue} {thing} {time} #{place}",
    "My {person} found the {place} {cue} {time}, {number} people were there",
    "Waiting at the {place} with my {person}. How {cue} this {thing} is!",
    "{number} minutes of {cue} {thing} from our {place} #{thing}",
    "Look at this {thing}, it is {cue}... seen {time} by the {place}",
    "@{person}{number} the {thing} {time} looked {cue}, the {place} too",
    "These are {cue} days for every {person} at the {place} #{time}",
    "Our {place} and its {cue} {thing}: {number} pictures taken {time}",
)
_FILLERS = {
    "thing": "coffee music weather bread garden light traffic bus lunch tea book film song walk "
    "game soup paint bicycle camera window",
    "place": "station market office park library harbour school museum bridge airport cinema "
    "kitchen village stadium hotel street river bakery square theatre",
    "person": "sister brother neighbour teacher cousin uncle aunt friend colleague driver captain "
    "student doctor baker painter singer",
    "time": "today yesterday tonight monday tuesday wednesday thursday friday sunday now",
    "number": "2 3 4 5 6 7 8 9 10 11 12 15 16 18 20 24 25 30 36 40 45 48 50 60 75 80 90 99",
}
FILLERS = {slot: tuple(words.split()) for slot, words in _FILLERS.items()}
"""Slot of a template -> words independent of the labels."""


@dataclass(frozen=True, slots=True)
class GeneratedPost:
    """A post with the ground truth of its labels."""

    post: Post
    """Its image is a PNG file of 224 x 224 pixels."""
    patch_box_px: Box
    """Left, top, right, bottom of the patch with the face that determines the image label."""
    cue_words: tuple[str, ...]
    """Words of the text that determine the text label, in order."""


def generate_posts(count: int, seed: int) -> list[GeneratedPost]:
    """Generate posts: sample text and image labels, then write the texts and draw the images.

    The label follows from the two by the merge rule of MVSA. A text's polarity is in its cue
    words; an image's is in one face (yellow and smiling, grey and straight, dark red and
    frowning) on a patch of 64 x 64 pixels that nothing else overlaps. Other shapes have the same
    colours and sizes. Post number i depends on `seed` and i alone, byte for byte.
    """
    return [_generate_post(i, seed) for i in range(count)]


def write_table(posts: Sequence[GeneratedPost], folder: Path) -> Path:
    """Write ``posts.csv`` and ``images/<id>.png`` below `folder`; return the path of the table."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    table = folder / "posts.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "text", "image", "label", "text_label", "image_label"])
        for post in (generated.post for generated in posts):
            image = f"images/{post.id}.png"
            (folder / image).write_bytes(cast(bytes, post.image))
            labels = [post.label, post.text_label, post.image_label]
            writer.writerow([post.id, post.text, image, *labels])
    return table


def _generate_post(number: int, seed: int) -> GeneratedPost:
    generator = np.random.default_rng([seed, number])
    pairs = list(LABEL_PAIR_SHARES)
    labels = pairs[generator.choice(len(pairs), p=[*LABEL_PAIR_SHARES.values()])]
    text, cue_words = _write_text(labels[0], generator)
    image, box = _paint_image(labels[1], generator)
    post = Post(f"post-{number:05d}", text, image, merge_labels(*labels), *labels)
    return GeneratedPost(post, box, cue_words)


def _write_text(label: str, generator: Generator) -> tuple[str, tuple[str, ...]]:
    """Fill a template; return the text and its cue words."""
    words = {**FILLERS, "cue": CUE_WORDS[label]}
    cue_words = []

    def fill(slot: re.Match[str]) -> str:
        choices = words[slot[1]]
        word = choices[generator.integers(len(choices))]
        if slot[1] == "cue":
            cue_words.append(word)
        return word

    template = TEMPLATES[generator.integers(len(TEMPLATES))]
    return re.sub(r"{(\w+)}", fill, template), tuple(cue_words)


def _paint_image(label: str, generator: Generator) -> tuple[bytes, Box]:
    """Return a PNG file with the face for `label`, and the box of its patch."""
    canvas = Canvas(GRID_CELLS * CELL_PX, generator)
    free = _square((0, 0), GRID_CELLS)
    patch = _take_cells(free, PATCH_CELLS, generator)
    canvas.draw_face(label, patch)
    for cells in (PATCH_CELLS,) * LARGE_SHAPES + (1,) * SMALL_SHAPES:
        canvas.draw_shape(_take_cells(free, cells, generator))
    return canvas.to_png(), patch


def _take_cells(free: set[Cell], side: int, generator: Generator) -> Box:
    """Remove a random square of `side` x `side` cells from the free ones and return its box."""
    corners = [cell for cell in sorted(free) if _square(cell, side) <= free]
    row, column = corners[generator.integers(len(corners))]
    free -= _square((row, column), side)
    left, top = column * CELL_PX, row * CELL_PX
    return left, top, left + side * CELL_PX, top + side * CELL_PX


def _square(corner: Cell, side: int) -> set[Cell]:
    """Return the cells of a square, given its upper left one."""
    row, column = corner
    return {(row + i, column + j) for i in range(side) for j in range(side)}


class Canvas:
    """A square image with a random background; boxes are left, top, right, bottom in pixels."""

    def __init__(self, size_px: int, generator: Generator) -> None:
        self._generator = generator
        corners = generator.integers(120, 230, (2, 2, 3), dtype=np.uint8)
        gradient = Image.fromarray(corners).resize((size_px, size_px), Image.Resampling.BILINEAR)
        side = size_px * SUPERSAMPLING
        self._image = gradient.resize((side, side), Image.Resampling.NEAREST)
        self._draw = ImageDraw.Draw(self._image)

    def draw_face(self, polarity: str, box_px: Box) -> None:
        """Draw a face whose colour, mouth and brows show the polarity."""
        pen = _Pen(self._draw, box_px, margin=self._generator.uniform(0.03, 0.12))
        pen.ellipse(0.0, 0.0, 1.0, 1.0, fill=FACE_COLORS[polarity], outline=INK)
        _FEATURES[polarity](pen)

    def draw_shape(self, box_px: Box) -> None:
        """Draw a square, triangle, star or ring that is independent of the labels."""
        pen = _Pen(self._draw, box_px, margin=self._generator.uniform(0.06, 0.18))
        color = SHAPE_COLORS[self._generator.integers(len(SHAPE_COLORS))]
        _SHAPES[self._generator.integers(len(_SHAPES))](pen, color)

    def to_png(self) -> bytes:
        """Return the finished image, with noise, as the bytes of a PNG file."""
        pixels = np.asarray(self._image.reduce(SUPERSAMPLING)).astype(np.int16)
        noise = self._generator.integers(
            -NOISE_LEVELS, NOISE_LEVELS, (*pixels.shape[:2], 1), dtype=np.int16
        )
        stream = BytesIO()
        image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
        image.save(stream, "PNG", compress_level=1)
        return stream.getvalue()


class _Pen:
    """Draws in coordinates from 0 to 1 inside a box, less a margin on each side."""

    def __init__(self, draw: ImageDraw.ImageDraw, box_px: Box, margin: float) -> None:
        left, top, right, _ = (SUPERSAMPLING * edge for edge in box_px)
        side = right - left
        self._draw = draw
        self._origin = (left + margin * side, top + margin * side)
        self._side = (1 - 2 * margin) * side
        self._width = max(2, round(self._side / 20))

    def ellipse(
        self, *corners: float, fill: Color | None = None, outline: Color, width: int = 1
    ) -> None:
        self._draw.ellipse(self._at(corners), fill, outline, width * self._width)

    def arc(self, *corners: float, start: int, end: int, fill: Color) -> None:
        self._draw.arc(self._at(corners), start, end, fill, 2 * self._width)

    def chord(self, *corners: float, start: int, end: int, fill: Color) -> None:
        self._draw.chord(self._at(corners), start, end, fill, INK, self._width)

    def line(self, *points: float, fill: Color) -> None:
        self._draw.line(self._at(points), fill, 2 * self._width)

    def polygon(self, *points: float, fill: Color) -> None:
        self._draw.polygon(self._at(points), fill, INK, self._width)

    def _at(self, numbers: tuple[float, ...]) -> list[float]:
        return [self._origin[i % 2] + self._side * number for i, number in enumerate(numbers)]


def _draw_eyes(pen: _Pen, color: Color) -> None:
    pen.ellipse(0.28, 0.3, 0.42, 0.5, fill=color, outline=color)
    pen.ellipse(0.58, 0.3, 0.72, 0.5, fill=color, outline=color)


def _smile(pen: _Pen) -> None:
    _draw_eyes(pen, INK)
    pen.chord(0.2, 0.3, 0.8, 0.86, start=10, end=170, fill=(250, 250, 250))


def _straight_face(pen: _Pen) -> None:
    _draw_eyes(pen, INK)
    pen.line(0.27, 0.7, 0.73, 0.7, fill=INK)


def _frown(pen: _Pen) -> None:
    light = (245, 235, 225)
    _draw_eyes(pen, light)
    pen.line(0.2, 0.18, 0.43, 0.32, fill=light)
    pen.line(0.8, 0.18, 0.57, 0.32, fill=light)
    pen.arc(0.24, 0.62, 0.76, 1.1, start=205, end=335, fill=light)


def _block(pen: _Pen, color: Color) -> None:
    pen.polygon(0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, fill=color)


def _triangle(pen: _Pen, color: Color) -> None:
    pen.polygon(0.5, 0.05, 1.0, 0.95, 0.0, 0.95, fill=color)


def _star(pen: _Pen, color: Color) -> None:
    points: list[float] = []
    for i in range(10):
        radius = 0.22 if i % 2 else 0.52
        angle = math.pi * (i / 5 - 0.5)
        points += [0.5 + radius * math.cos(angle), 0.53 + radius * math.sin(angle)]
    pen.polygon(*points, fill=color)


def _ring(pen: _Pen, color: Color) -> None:
    pen.ellipse(0.0, 0.0, 1.0, 1.0, outline=INK, width=5)
    pen.ellipse(0.05, 0.05, 0.95, 0.95, outline=color, width=3)


_FEATURES: dict[str, Callable[[_Pen], None]] = {
    "positive": _smile,
    "neutral": _straight_face,
    "negative": _frown,
}
_SHAPES: tuple[Callable[[_Pen, Color], None], ...] = (_block, _triangle, _star, _ring)
