"""Images of every kind that posts bring along, good and bad, against known pixels."""

import gzip
import hashlib
import logging
import random
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile, PngImagePlugin

from mvcn.data.images import (
    MAX_IMAGE_PIXELS,
    image_digest,
    image_size,
    open_image,
)
from mvcn.errors import BadImageError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image, format, **options):
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    """A PNG file that announces a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def noise(width, height, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def close(pixel, expected, tolerance=6):
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, expected, strict=True))


def test_reads_a_file_and_its_bytes_alike(tmp_path):
    path = tmp_path / "a.png"
    noise(9, 5).save(path)
    expected = np.asarray(noise(9, 5))
    np.testing.assert_array_equal(np.asarray(open_image(path)), expected)
    np.testing.assert_array_equal(np.asarray(open_image(path.read_bytes())), expected)


@pytest.mark.parametrize(
    ("mode", "color", "format", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), "JPEG", RED),
        ("CMYK", (255, 255, 0, 0), "TIFF", BLUE),
        ("L", 77, "JPEG", (77, 77, 77)),
        ("1", 1, "PNG", WHITE),
        ("YCbCr", (76, 85, 255), "JPEG", RED),
        ("RGBA", (255, 0, 0, 0), "PNG", WHITE),
        ("RGBA", (0, 0, 0, 51), "PNG", (204, 204, 204)),  # 255 * (1 - 51 / 255)
        ("RGBA", (0, 0, 255, 255), "WEBP", BLUE),
        ("LA", (0, 102), "PNG", (153, 153, 153)),  # 255 * (1 - 102 / 255)
        ("I;16", 0x80FF, "PNG", (0x80, 0x80, 0x80)),
        ("I;16", 0x1234, "TIFF", (0x12, 0x12, 0x12)),
        ("I", 0xFF00, "TIFF", WHITE),
    ],
)
def test_every_mode_becomes_rgb(mode, color, format, expected):
    image = open_image(encoded(Image.new(mode, (4, 3), color), format))
    assert (image.mode, image.size) == ("RGB", (4, 3))
    assert close(image.getpixel((1, 1)), expected)


@pytest.mark.parametrize("format", ["GIF", "PNG"])
def test_a_transparent_palette_color_becomes_white(format):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    opened = open_image(encoded(image, format, transparency=0))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [WHITE, GREEN]


def test_a_palette_with_an_alpha_a_color_is_laid_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    opened = open_image(encoded(image, "PNG", transparency=bytes([0, 255])))
    assert opened.getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_shows_the_first_frame_of_an_animation(format):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN, BLUE)]
    options = {"lossless": True} if format == "WEBP" else {}
    animation = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(BytesIO(animation)).n_frames == 3
    assert open_image(animation).getpixel((4, 4)) == RED


def stored_for(orientation, upright):
    """Pixels as a camera stores them, from the EXIF standard's place of row 0 and column 0."""
    return {
        1: upright,
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.swapaxes(0, 1),  # left, top
        6: upright.swapaxes(0, 1)[::-1],  # right, top
        7: upright.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: upright.swapaxes(0, 1)[:, ::-1],  # left, bottom
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_turns_a_photo_upright_once(orientation, format):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = RED
    upright[16:, 32:] = BLUE
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(stored_for(orientation, upright)))
    image = open_image(encoded(stored, format, exif=exif))
    assert image.size == (48, 32)
    assert close(image.getpixel((4, 4)), RED)
    assert close(image.getpixel((44, 28)), BLUE)
    assert not image.getexif()


def test_orientation_examples_follow_the_standard():
    upright = np.arange(6).reshape(2, 3)
    # Value 6: row 0 of the file is the right-hand side of the picture, column 0 its top.
    np.testing.assert_array_equal(stored_for(6, upright)[0], upright[:, -1])
    # Value 8: row 0 of the file is the left-hand side of the picture, column 0 its bottom.
    np.testing.assert_array_equal(stored_for(8, upright)[0], upright[::-1, 0])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_do_not_spoil_the_picture():
    image = encoded(
        Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f junk"
    )
    assert close(open_image(image).getpixel((4, 4)), RED)


def whole_jpeg():
    return encoded(noise(64, 64), "JPEG")


def bad_contents():
    return {
        "empty": (b"", "is empty"),
        "cut short": (whole_jpeg()[:1500], "is damaged"),
        "cut in the header": (whole_jpeg()[:30], "is (damaged|not an image)"),
        "cut PNG": (encoded(noise(64, 64), "PNG")[:2000], "is damaged"),
        "cut GIF": (encoded(noise(64, 64, "P"), "GIF")[:900], "is damaged"),
        "cut WebP": (encoded(noise(64, 64), "WEBP")[:500], "is (damaged|not an image)"),
        "text": (b"404 not found", "not an image in a known format: convert it to JPEG"),
        "page": (b"<html>404 not found</html>", "is a web page, .*failed download: download"),
        "page in XML": (b'\n<?xml version="1.0"?><!DOCTYPE HTML>', "is a web page"),
        "answer": (b'{"error": 404}', "is JSON, perhaps from a failed download: download"),
        "pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a Git LFS pointer, not the image itself: run git lfs pull",
        ),
        "PDF": (encoded(noise(9, 9), "PDF"), "is a PDF document, .*: convert"),
        "drawing": (b'<?xml version="1.0"?>\n<svg></svg>', r"is an SVG drawing, .* to PNG"),
        "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC photo, .*: convert it"),
        "video": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", r"is a video \(MP4 or MOV\)"),
        "compressed": (gzip.compress(whole_jpeg()), "is compressed with gzip: decompress it"),
        "zeros": (bytes(70_000), "holds nothing but zeros, .*download it again"),
        "header of a PNG": (encoded(noise(9, 9), "PNG")[:33], "is damaged"),
        "signature of a PNG": (b"\x89PNG\r\n\x1a\n", "is damaged"),
        "signature of a GIF": (b"GIF89a", "is damaged"),
        "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "bomb": (png_header(50_000, 50_000), "more than the 89,478,485 pixels"),
        "small bomb": (png_header(MAX_IMAGE_PIXELS // 1000 + 1, 1000), "more than the 89,478,485"),
    }


@pytest.mark.parametrize("kind", bad_contents())
def test_bad_images_give_one_sentence_with_their_name(tmp_path, kind):
    content, message = bad_contents()[kind]
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=message) as from_file:
        open_image(path)
    with pytest.raises(BadImageError, match=message) as from_bytes:
        open_image(content)
    assert str(from_file.value).startswith(f"Image {path} ")
    assert str(from_bytes.value).startswith("The image in the given bytes ")
    assert "\n" not in str(from_file.value)


def test_refuses_bombs_that_pillow_only_warns_of():
    with pytest.raises(BadImageError, match="more than"):
        open_image(png_header(MAX_IMAGE_PIXELS // 1000 + 1, 1000))


def test_the_limit_itself_is_allowed_by_the_header_check():
    width = 5
    assert MAX_IMAGE_PIXELS % width == 0
    with pytest.raises(BadImageError, match="is damaged"):  # it is decoded, and has no pixels
        open_image(png_header(width, MAX_IMAGE_PIXELS // width))


def test_the_size_is_told_without_decoding():
    assert image_size(png_header(9000, 7000)) == (9000, 7000)
    with pytest.raises(BadImageError, match="known format"):
        image_size(b"no image")


@pytest.mark.parametrize("name", ["missing.jpg", ".", "a\0b", "x" * 5000])
@pytest.mark.parametrize("function", [open_image, image_digest, image_size])
def test_no_such_file(tmp_path, name, function):
    with pytest.raises(BadImageError, match="check its path"):
        function(tmp_path / name)


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (1030, 700), (500, 90), (30, 20)])
@pytest.mark.parametrize("hint", [64, 224, 384])
def test_a_size_hint_never_makes_a_side_shorter_than_it(size, hint):
    full = Image.linear_gradient("L").resize(size).convert("RGB")
    image = open_image(encoded(full, "JPEG"), size_hint_px=hint)
    assert min(image.size) >= min(hint, *size)
    assert abs(image.width / image.height - size[0] / size[1]) < 0.05
    around = image.resize((8, 8), Image.Resampling.BOX)
    expected = full.resize((8, 8), Image.Resampling.BOX)
    np.testing.assert_allclose(np.asarray(around, int), np.asarray(expected, int), atol=4)


def test_a_size_hint_saves_time_on_a_photo_of_12_megapixels():
    photo = encoded(Image.radial_gradient("L").resize((4000, 3000)).convert("RGB"), "JPEG")
    assert open_image(photo, 224).size == (500, 375)  # 1/8; 375 is still above 224
    assert fastest(lambda: open_image(photo, 224)) < fastest(lambda: open_image(photo))


def fastest(work, times=3):
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return min(durations)


def test_a_size_hint_leaves_other_formats_alone():
    assert open_image(encoded(noise(300, 200), "PNG"), size_hint_px=10).size == (300, 200)


def test_threads_get_the_same_pixels_and_pillow_keeps_its_settings():
    settings = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    files = [encoded(noise(40 + i, 30), "JPEG") for i in range(20)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(open_image, files * 3))
    for content, image in zip(files * 3, together, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(open_image(content)))
    assert settings == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_the_digest_is_that_of_the_raw_bytes(tmp_path):
    content = b"not even an image"
    (tmp_path / "a.jpg").write_bytes(content)
    expected = hashlib.blake2b(content, digest_size=16).hexdigest()
    assert image_digest(tmp_path / "a.jpg") == image_digest(content) == expected
    assert len(expected) == 32


BOMB = zlib.compress(b"\0" * (PngImagePlugin.MAX_TEXT_CHUNK + 1))
MANY_TEXTS = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * PngImagePlugin.MAX_TEXT_CHUNK)) * 65
ODD_CHUNKS = {
    "zTXt": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "iCCP": chunk(b"iCCP", b"profile\0\0" + BOMB),
    "many texts": MANY_TEXTS,
    "check sum": chunk(b"gAMA", struct.pack(">I", 45455))[:-1] + b"?",
    "short": chunk(b"pHYs", b"1"),
}


def with_chunk(png, extra, before):
    place = png.index(before) - 4
    return png[:place] + extra + png[place:]


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("kind", ODD_CHUNKS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_metadata_of_a_png_do_not_spoil_the_picture(kind, before, mode):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture = noise(9, 5).convert(mode)
    options = {"transparency": bytes([0, 128])} if mode == "P" else {}
    plain = encoded(picture, "PNG", exif=exif, **options)
    odd = with_chunk(plain, ODD_CHUNKS[kind], before)
    np.testing.assert_array_equal(np.asarray(open_image(odd)), np.asarray(open_image(plain)))
    assert open_image(odd).size == (5, 9)
    assert image_size(odd) == (9, 5)


def test_a_png_is_as_bad_as_its_pixels_whatever_its_metadata():
    bad = bad_contents()
    for kind in ("cut PNG", "bomb", "small bomb"):
        content, message = bad[kind]
        with pytest.raises(BadImageError, match=message):
            open_image(with_chunk(content, ODD_CHUNKS["zTXt"], b"IDAT"))


def jpeg(width=48, height=800, **options):
    """Some smooth drawing: noise of 6 x 6 pixels scaled up, in 50 or 100 rows of blocks."""
    small = np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return encoded(picture, "JPEG", **options)


KINDS_OF_JPEG = {
    "baseline": {},
    "progressive": {"progressive": True},
    "without subsampling": {"subsampling": 0},
    "with restarts": {"restart_marker_rows": 1},
    "best quality": {"quality": 100},
}


def as_viewers_show(content, monkeypatch):
    """Pixels as Pillow decodes truncated files when it is told to, for all threads."""
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        with Image.open(BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("kind", KINDS_OF_JPEG)
def test_a_jpeg_without_its_last_bytes_is_read_as_viewers_show_it(kind, monkeypatch):
    whole = jpeg(**KINDS_OF_JPEG[kind])
    expected = np.asarray(open_image(whole))
    for missing in (1, 2, 3, 10, 40):
        remarks = []
        content = whole[:-missing]
        found = np.asarray(open_image(content, warn=remarks.append))
        np.testing.assert_array_equal(found, as_viewers_show(content, monkeypatch))
        (remark,) = remarks
        rows = int(remark.partition("is truncated: ")[2].split()[0])
        assert rows >= 0.95 * 800
        sure = rows if rows == 800 else rows - 16  # but for the row of blocks where the data end
        np.testing.assert_array_equal(found[:sure], expected[:sure])
        assert remark == (
            f"The image in the given bytes is truncated: {rows} of its 800 rows can be decoded."
        )
    assert image_size(content) == (48, 800)


def test_all_rows_are_there_when_the_end_marker_alone_is_missing():
    remarks = []
    whole = jpeg()
    found = open_image(whole[:-2], warn=remarks.append)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(open_image(whole)))
    assert "800 of its 800 rows" in remarks[0]


@pytest.mark.parametrize("kind", KINDS_OF_JPEG)
def test_a_jpeg_with_less_than_95_percent_of_its_rows_is_bad_at_every_size(kind):
    whole = jpeg(**KINDS_OF_JPEG[kind])
    for length in range(len(whole) // 4, len(whole), len(whole) // 23):
        answers = set()
        for hint in (None, 24, 6):
            try:
                open_image(whole[:length], hint, None)
                answers.add("read")
            except BadImageError as error:
                answers.add(str(error))
        assert len(answers) == 1
    with pytest.raises(BadImageError, match=r"truncated: only \d+ of its 800 rows can be decoded"):
        open_image(whole[: len(whole) // 2])


def test_a_progressive_jpeg_is_bad_while_scans_are_missing():
    whole = jpeg(progressive=True)
    last_scan = whole.rindex(b"\xff\xda")
    before = whole[: whole.rindex(b"\xff\xc4", 0, last_scan)]  # its tables come first
    with pytest.raises(BadImageError, match=r"truncated: only 0 of its 800 rows"):
        open_image(before)


def test_room_that_a_download_never_filled_is_missing():
    whole = jpeg()
    half = whole[: len(whole) // 2]
    with pytest.raises(BadImageError, match=r"truncated: only (3|4)\d\d of its 800 rows"):
        open_image(half + bytes(len(whole) - len(half)))


def test_a_truncated_photo_is_turned_and_reduced_like_a_whole_one():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    whole = jpeg(exif=exif)
    found = open_image(whole[:-2], 24, None)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(open_image(whole, 24)))
    assert found.size == (400, 24)


def test_a_truncated_image_is_told_of_by_its_name(tmp_path, caplog):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg()[:-2])
    with caplog.at_level(logging.WARNING):
        open_image(path)
    assert caplog.messages == [f"Image {path} is truncated: 800 of its 800 rows can be decoded."]


def test_threads_read_truncated_images_and_pillow_keeps_its_settings():
    files = [jpeg(height=400 + 8 * i)[:-9] for i in range(6)]
    files += [encoded(noise(40, 30), "JPEG")[:-300]] * 6
    settings = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)

    def read(content):
        try:
            return open_image(content, warn=None).tobytes()
        except BadImageError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(read, files * 2))
    assert together == [read(content) for content in files * 2]
    assert settings == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def grey_tiff(values):
    return encoded(Image.fromarray(values), "TIFF")


def greys(content):
    pixels = np.asarray(open_image(content))
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 0] == pixels[..., 2]).all()
    return pixels[..., 0]


UNIT = np.random.default_rng(3).random((5, 7)).astype(np.float32)
STRETCHED = {
    "floats below 0": UNIT - 0.5,
    "floats above 255": UNIT * 3000,
    "large numbers": (UNIT * 2**31).astype(np.int32) // 2,
    "numbers below 0": (UNIT * 4000).astype(np.int32) - 1000,
}


def test_floats_of_0_to_1_are_all_greys():
    np.testing.assert_array_equal(greys(grey_tiff(UNIT)), np.rint(UNIT * 255).astype(np.uint8))
    ends = np.array([[0, 1, 0.5]], np.float32)
    np.testing.assert_array_equal(greys(grey_tiff(ends)), [[0, 255, 128]])


@pytest.mark.parametrize("kind", STRETCHED)
def test_other_ranges_are_stretched_from_the_least_to_the_greatest(kind):
    values = STRETCHED[kind]
    expected = np.interp(values, [values.min(), values.max()], [0, 255])
    found = greys(grey_tiff(values))
    assert (found.min(), found.max()) == (0, 255)
    np.testing.assert_allclose(found, expected, atol=0.5 + 1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_of_0_to_255_are_8_bit_greys(kind):
    values = np.arange(256).reshape(16, 16).astype(kind)
    np.testing.assert_array_equal(greys(grey_tiff(values)), values)


def test_numbers_of_0_to_65535_are_16_bit_greys():
    values = np.arange(0, 65536, 257).reshape(16, 16).astype(np.int32)
    np.testing.assert_array_equal(greys(grey_tiff(values)), values // 256)
    deep = encoded(Image.fromarray(values.astype(np.uint16)), "PNG")
    np.testing.assert_array_equal(greys(deep), values // 256)


def test_what_is_no_number_counts_as_the_least_and_infinity_as_the_greatest():
    values = np.array([[np.nan, -np.inf, np.inf, -2, 0, 2]], np.float32)
    np.testing.assert_array_equal(greys(grey_tiff(values)), [[0, 0, 255, 0, 128, 255]])
    np.testing.assert_array_equal(greys(grey_tiff(values * np.nan)), np.zeros((1, 6)))
    np.testing.assert_array_equal(greys(grey_tiff(np.full((2, 2), 1e9, np.float32))), 0)


def bmp_with_alpha(rgba):
    """A BMP file whose header says where its alpha channel is (BITMAPV4HEADER)."""
    height, width, _ = rgba.shape
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header += masks + bytes(108 - len(header) - len(masks))
    offset = 14 + len(header)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + header + pixels


@pytest.mark.parametrize("format", ["BMP", "TIFF", "PNG", "LA in PNG", "WEBP"])
def test_an_alpha_channel_without_content_is_ignored(format):
    rgb = np.asarray(noise(9, 5))
    rgba = np.dstack([rgb, np.zeros((5, 9), np.uint8)])
    if format == "BMP":
        content = bmp_with_alpha(rgba)
    elif format == "LA in PNG":
        rgb = np.repeat(rgb[..., :1], 3, axis=2)
        content = encoded(Image.fromarray(rgba[..., [0, 3]]), "PNG")
    else:
        options = {"lossless": True, "exact": True} if format == "WEBP" else {}
        content = encoded(Image.fromarray(rgba), format, **options)
    np.testing.assert_array_equal(np.asarray(open_image(content)), rgb)


def test_one_visible_pixel_makes_an_alpha_channel_count():
    rgba = np.dstack([np.asarray(noise(9, 5)), np.zeros((5, 9), np.uint8)])
    rgba[2, 3, 3] = 255
    found = np.asarray(open_image(bmp_with_alpha(rgba)))
    expected = np.full_like(found, 255)
    expected[2, 3] = rgba[2, 3, :3]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, for damaged EXIF data
def test_exif_data_damaged_behind_the_orientation_still_turn_the_picture():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.XResolution] = 72.5
    raw = exif.tobytes()
    expected = np.rot90(np.asarray(noise(9, 5)), k=-1)
    rnd = random.Random(0)
    turned = 0
    for _ in range(300):
        damaged = bytearray(raw)
        place = rnd.randrange(raw.index(b"\x01\x12") + 12, len(raw))  # behind the entry
        damaged[place] = rnd.randrange(256)
        with Image.open(BytesIO(encoded(noise(9, 5), "PNG", exif=bytes(damaged)))) as image:
            image.load()
            stated = image.getexif().get(ExifTags.Base.Orientation)
        found = np.asarray(open_image(encoded(noise(9, 5), "PNG", exif=bytes(damaged))))
        if stated == 6:
            turned += 1
            np.testing.assert_array_equal(found, expected)
    assert turned > 200
