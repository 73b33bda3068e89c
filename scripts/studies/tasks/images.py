"""Generated images: a texture, or a shape among smaller ones, depends on the class."""

import math
from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

DrawImage = Callable[[str, Generator], bytes]
"""Draws an image of a class; returns a JPEG file."""

SIZE_PX = 224
JPEG_QUALITY = 85
TEXTURES = ("stripes", "checks", "dots", "waves")
SHAPES = ("disc", "triangle", "square", "star")
SMALL_SHAPES = 5
DOT_LEVEL = 0.4
POINTS = {"triangle": (3, 1.0), "square": (4, 1.0), "star": (10, 0.45)}
"""Shape -> its corners, and the distance of every second one relative to the others."""


def draw_texture(label: str, generator: Generator) -> bytes:
    """Draw a texture of `TEXTURES`, of any colours, scale and rotation, faint under noise."""
    angle, period = generator.uniform(0, math.pi), generator.uniform(9, 26)
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] * (2 * math.pi / period)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    waves = {
        "stripes": np.sin(u),
        "checks": np.sign(np.sin(u) * np.sin(v)),
        "dots": 2.0 * (np.sin(u) * np.sin(v) > DOT_LEVEL) - 1,
        "waves": np.sin(u + 1.2 * np.sin(v / 2)),
    }
    pattern = waves[label][..., None] * generator.uniform(3, 14, 3)
    return _to_jpeg(_background(generator) + pattern, 22, generator)


def draw_shape(label: str, generator: Generator) -> bytes:
    """Draw one large shape of `SHAPES` behind small ones of any kind, in any colours."""
    image = Image.fromarray(_background(generator).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    _draw(draw, label, generator.uniform(45, 70), generator)
    for _ in range(SMALL_SHAPES):
        _draw(draw, SHAPES[generator.integers(len(SHAPES))], generator.uniform(12, 26), generator)
    return _to_jpeg(np.asarray(image), 16, generator)


def _background(generator: Generator) -> np.ndarray:
    """Return a gradient between four random colours."""
    corners = generator.integers(60, 200, (2, 2, 3), dtype=np.uint8)
    size = (SIZE_PX, SIZE_PX)
    return np.asarray(Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR), float)


def _draw(draw: ImageDraw.ImageDraw, shape: str, radius: float, generator: Generator) -> None:
    x, y = generator.uniform(radius, SIZE_PX - radius, 2)
    color = tuple(int(level) for level in generator.integers(20, 240, 3))
    if shape == "disc":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        return
    corners, inner = POINTS[shape]
    start = generator.uniform(0, 2 * math.pi)
    radii = [radius * (inner if i % 2 else 1.0) for i in range(corners)]
    angles = [start + 2 * math.pi * i / corners for i in range(corners)]
    points = [
        (x + r * math.cos(angle), y + r * math.sin(angle))
        for r, angle in zip(radii, angles, strict=True)
    ]
    draw.polygon(points, fill=color)


def _to_jpeg(pixels: np.ndarray, noise: float, generator: Generator) -> bytes:
    """Return a JPEG file of levels from 0 to 255, with normal noise of a standard deviation."""
    noisy = np.clip(pixels + generator.normal(0, noise, pixels.shape), 0, 255)
    stream = BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
