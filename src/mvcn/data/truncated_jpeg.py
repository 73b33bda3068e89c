"""JPEG files without their last bytes: completed as image viewers do, and how much is there."""

import re
import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

END_OF_IMAGE = b"\xff\xd9"
FILLER = bytes(range(254, -1, -1)) * 4
"""Entropy-coded data without a marker, which decode to something else than no data at all."""
MIN_PADDING_BYTES = 512
"""Zeros at the end that are room that a download never filled; pictures have shorter runs."""
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker that begins a segment: neither an escaped byte nor a fill byte nor a restart."""
START_OF_FRAME = b"\xc0\xc1\xc2"
START_OF_SCAN = 0xDA
COEFFICIENTS = 64
"""Of a block in one component (ISO/IEC 10918-1, A.3)."""


@dataclass(frozen=True, slots=True)
class CompletedJpeg:
    """A truncated JPEG file with an end."""

    content: bytes
    rows: int
    """Rows from the top that are decoded from the file's own data, to their last detail; exact to
    within one row of blocks."""
    height_px: int


def complete_jpeg(content: bytes) -> CompletedJpeg:
    """Put an end-of-image marker behind the data that are there, as the libjpeg library does.

    Decoders then show the rows that are missing in grey (baseline) or with less detail
    (progressive).

    Args:
        content: A JPEG file that has no end.

    Raises:
        OSError: It cannot be decoded even so.
    """
    data = content.rstrip(b"\0")
    if len(content) - len(data) < MIN_PADDING_BYTES:
        data = content
    completed = data + END_OF_IMAGE
    pixels = _decode(completed)
    rows = 0
    if _has_all_scans(data):
        # What differs when other data follow has not been decoded from the file itself.
        escaped = b"\0" if data.endswith(b"\xff") else b""
        other = _decode(data + escaped + FILLER + END_OF_IMAGE)
        differs = (pixels != other).reshape(len(pixels), -1).any(axis=1)
        rows = int(differs.argmax()) if differs.any() else len(pixels)
    return CompletedJpeg(completed, rows, len(pixels))


def _decode(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content), formats=["JPEG"]) as image:
        return np.asarray(image)


def _has_all_scans(data: bytes) -> bool:
    """Tell whether a scan with the last bit of each coefficient has begun."""
    missing_bits: dict[tuple[int, int], int] = {}
    position = len(b"\xff\xd8")
    while marker := MARKER.search(data, position):
        kind, start = marker[0][1], marker.end()
        (length,) = struct.unpack_from(">H", data, start)
        segment = data[start + 2 : start + length]
        if kind in START_OF_FRAME:
            components = segment[6::3]
            missing_bits = {(c, k): 16 for c in components for k in range(COEFFICIENTS)}
        elif kind == START_OF_SCAN:
            first, last, approximation = segment[-3:]
            for component in segment[1:-3:2]:
                for coefficient in range(first, last + 1):
                    missing_bits[component, coefficient] = approximation & 0xF
        position = start + length
    return bool(missing_bits) and not any(missing_bits.values())
