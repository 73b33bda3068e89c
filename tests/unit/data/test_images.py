"""Images of every kind that posts bring along, good and bad, against known pixels."""

import hashlib
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from mvcn.data.images import MAX_IMAGE_PIXELS, image_digest, image_size, open_image
from mvcn.errors import BadImageError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image, format, **options):
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png_header(width, height):
    """A PNG file that announces a size and holds next to nothing."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

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
        "text": (b"<html>404 not found</html>", "not an image in a known format"),
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


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
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
    with pytest.raises(BadImageError, match="correct its path"):
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
