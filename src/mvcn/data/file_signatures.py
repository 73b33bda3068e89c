"""What a file is that is not an image, by its first bytes."""

DAMAGED = "is damaged (its header cannot be read to the end): replace or drop it."
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", DAMAGED),
    (b"\xff\xd8\xff", DAMAGED),
    (b"GIF87a", DAMAGED),
    (b"GIF89a", DAMAGED),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the image: run git lfs pull."),
    (b"%PDF-", "is a PDF document, not an image: convert its page to JPEG."),
    (b"\x1f\x8b", "is compressed by gzip: decompress it first."),
    (b"PK\x03\x04", "is a ZIP archive, not an image: unpack it first."),
    (b"\x1a\x45\xdf\xa3", "is a video (Matroska or WebM): save a picture of it as JPEG."),
    (b"{", "is JSON, as of a failed download: download the image again."),
)
"""First bytes of a file -> the end of a sentence that begins with its name."""
MARKUP = (
    (b"<!doctype html", "is a web page, as of a failed download: download the image again."),
    (b"<html", "is a web page, as of a failed download: download the image again."),
    (b"<svg", "is a drawing (SVG), which is not read: convert it to PNG."),
)
"""As `SIGNATURES`, of texts in lower case that may begin with blanks, comments or a header."""
BOX = slice(4, 8)
"""Where files of the ISO base media format (ISO/IEC 14496-12) say ``ftyp``; their brand follows."""
BRAND = slice(8, 12)
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), DAMAGED),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        "is a photo in HEIC, which is not read: convert it to JPEG.",
    ),
}
LOOKED_AT = 1024
"""Bytes in which a text says what it is."""


def describe_unknown_file(content: bytes) -> str:
    """Return the end of a sentence that begins with the name of a file that is not an image.

    Args:
        content: Of the file, which is not empty.
    """
    if not content.strip(b"\0"):
        return "holds nothing but zeros, as of a copy that failed: copy or download it again."
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
