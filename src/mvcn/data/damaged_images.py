"""Image files that decoders reject: what they are, and how to read what is intact."""

import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANCILLARY = 0x20
"""Bit of the first letter of a chunk's name (ISO/IEC 15948, 5.4) if no pixel depends on it."""
KEPT = (b"tRNS", b"eXIf")
"""Ancillary chunks that affect the displayed image: transparency and orientation."""
BYTES_AROUND_DATA = 12
"""Of a chunk: length, name and checksum."""
END_OF_IMAGE = b"\xff\xd9"
FILLER = bytes(range(254, -1, -1)) * 4
"""Entropy-coded data without a marker, which decodes differently from no data."""
MIN_PADDING_BYTES = 512
"""Trailing zeros that an interrupted download leaves; image data has shorter runs."""
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker that starts a segment, not an escaped byte, a fill byte or a restart marker."""
START_OF_FRAME = b"\xc0\xc1\xc2"
START_OF_SCAN = 0xDA
COEFFICIENTS = 64
"""Of a block in one component (ISO/IEC 10918-1, A.3)."""
DAMAGED = "is damaged (its header is incomplete): replace it or leave it out."
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (PNG_SIGNATURE, DAMAGED),
    (JPEG_SIGNATURE, DAMAGED),
    (b"GIF87a", DAMAGED),
    (b"GIF89a", DAMAGED),
    (b"version https://git-lfs", "is a Git LFS pointer, not the image itself: run git lfs pull."),
    (b"%PDF-", "is a PDF document, not an image: convert its page to JPEG."),
    (b"\x1f\x8b", "is compressed with gzip: decompress it first."),
    (b"PK\x03\x04", "is a ZIP archive, not an image: unpack it first."),
    (b"\x1a\x45\xdf\xa3", "is a video (Matroska or WebM): save a picture of it as JPEG."),
    (b"{", "is JSON, perhaps from a failed download: download the image again."),
)
"""First bytes of a file -> rest of a sentence that starts with its name."""
MARKUP = (
    (b"<!doctype html", "is a web page, perhaps from a failed download: download the image again."),
    (b"<html", "is a web page, perhaps from a failed download: download the image again."),
    (b"<svg", "is an SVG drawing, which is not supported: convert it to PNG."),
)
"""As `SIGNATURES`, for lower-case text that may start with whitespace, comments or a header."""
BOX = slice(4, 8)
"""Position of ``ftyp`` in ISO base media files (ISO/IEC 14496-12), followed by the brand."""
BRAND = slice(8, 12)
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), DAMAGED),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        "is a HEIC photo, which is not supported: convert it to JPEG.",
    ),
}
LOOKED_AT = 1024
"""Bytes in which markup is searched for."""


def describe_unknown_file(content: bytes) -> str:
    """Return the rest of a sentence that starts with the name of a file that is not an image.

    Args:
        content: Bytes of the file, at least one.
    """
    if not content.strip(b"\0"):
        return "holds nothing but zeros, perhaps from a failed copy: copy or download it again."
    if content[BOX] == b"ftyp":
        video = "is a video (MP4 or MOV): save a picture of it as JPEG."
        return BRANDS.get(content[BRAND], video)
    if content.startswith(b"RIFF"):
        is_video = content[BRAND] == b"AVI "
        return "is a video (AVI): save a picture of it as JPEG." if is_video else DAMAGED
    text = content[:LOOKED_AT].lower().removeprefix(b"\xef\xbb\xbf").lstrip()
    found = [sentence for start, sentence in SIGNATURES if content.startswith(start)]
    if text.startswith(b"<"):
        found += [sentence for start, sentence in MARKUP if start in text]
    return found[0] if found else "is not an image in a known format: convert it to JPEG."


def without_metadata(content: bytes) -> bytes:
    """Return a PNG file without texts, colour profiles and other chunks that pixels do not need.

    Transparency and EXIF data are kept if their checksum is valid.

    Args:
        content: A PNG file, which may be damaged.
    """
    kept = [PNG_SIGNATURE]
    position = len(PNG_SIGNATURE)
    while position + BYTES_AROUND_DATA <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunk = content[position : position + length + BYTES_AROUND_DATA]
        name = chunk[4:8]
        is_sound = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if not name[0] & ANCILLARY or (name in KEPT and is_sound):
            kept.append(chunk)
        position += len(chunk)
    return b"".join(kept)


@dataclass(frozen=True, slots=True)
class CompletedJpeg:
    """A truncated JPEG file, completed by an end-of-image marker."""

    content: bytes
    rows: int
    """Rows from the top that are fully decoded from the data of the file; exact to within one row
    of blocks."""
    height_px: int


def complete_jpeg(content: bytes) -> CompletedJpeg:
    """Append an end-of-image marker to the available data, as libjpeg does.

    Decoders then render missing rows in grey (baseline) or with less detail (progressive).

    Args:
        content: A JPEG file without an end-of-image marker.

    Raises:
        OSError: It still cannot be decoded.
    """
    data = content.rstrip(b"\0")
    if len(content) - len(data) < MIN_PADDING_BYTES:
        data = content
    completed = data + END_OF_IMAGE
    pixels = _decode(completed)
    rows = 0
    if _has_all_scans(data):
        # Pixels that change with the appended data were not decoded from the file itself.
        escaped = b"\0" if data.endswith(b"\xff") else b""
        other = _decode(data + escaped + FILLER + END_OF_IMAGE)
        differs = (pixels != other).reshape(len(pixels), -1).any(axis=1)
        rows = int(differs.argmax()) if differs.any() else len(pixels)
    return CompletedJpeg(completed, rows, len(pixels))


def _decode(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content), formats=["JPEG"]) as image:
        return np.asarray(image)


def _has_all_scans(data: bytes) -> bool:
    """Return whether the scan with the last bit of each coefficient has started."""
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
