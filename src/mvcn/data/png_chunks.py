"""The chunks of PNG files that make the picture."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANCILLARY = 0x20
"""Bit of the first letter of a chunk's name (ISO/IEC 15948, 5.4): pixels do not depend on it."""
KEPT = (b"tRNS", b"eXIf")
"""Ancillary chunks that change how the picture looks: transparency and orientation."""
BYTES_AROUND_DATA = 12
"""Of a chunk: length, name and check sum."""


def without_metadata(content: bytes) -> bytes:
    """Return a PNG file without texts, colour profiles and whatever else pixels do not depend on.

    Transparency and EXIF data are kept where their check sum is right.

    Args:
        content: A PNG file, which may be damaged.
    """
    kept = [SIGNATURE]
    position = len(SIGNATURE)
    while position + BYTES_AROUND_DATA <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunk = content[position : position + length + BYTES_AROUND_DATA]
        name = chunk[4:8]
        is_sound = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if not name[0] & ANCILLARY or (name in KEPT and is_sound):
            kept.append(chunk)
        position += len(chunk)
    return b"".join(kept)
