"""What generated images are painted from: backgrounds, faces and other shapes."""

import math
from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]

SUPERSAMPLING = 2
"""Canvases are this many times too large, and reduced at the end, for smooth edges."""
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
        """Draw a square, triangle, star or ring that means nothing."""
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


def _square(pen: _Pen, color: Color) -> None:
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
_SHAPES: tuple[Callable[[_Pen, Color], None], ...] = (_square, _triangle, _star, _ring)
