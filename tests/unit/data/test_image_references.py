"""What tables and programs call an image: the same pixels as from a file."""

import base64
import re
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mvcn.data.image_references import (
    DecodedImage,
    decode_base64_image,
    image_reference,
    is_base64_image,
)
from mvcn.data.images import open_image
from mvcn.errors import BadImageError, DataError

ORIENTATION = 0x0112


@pytest.fixture
def colours():
    noise = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def as_file(image, kind, **options):
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(source):
    return np.asarray(open_image(source))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16"])
def test_it_is_the_same_picture_as_from_a_file_that_keeps_every_pixel(colours, mode):
    image = colours.convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    np.testing.assert_array_equal(
        pixels(DecodedImage(image)), pixels(as_file(image, "TIFF")), strict=True
    )


@pytest.mark.parametrize("mode", ["F", "I"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_greys_of_32_bits_keep_their_content(mode, orientation):
    values = np.random.default_rng(0).random((6, 4)) * 1e6 - 2e5
    image = Image.fromarray(values.astype(np.float32 if mode == "F" else np.int32))
    image.getexif()[ORIENTATION] = orientation
    grey = np.interp(values, [values.min(), values.max()], [0, 255])
    expected = grey if orientation == 1 else np.rot90(grey, k=-1)
    np.testing.assert_allclose(pixels(DecodedImage(image))[..., 0], expected, atol=0.51)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_its_exif_data_say(colours, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = Image.open(BytesIO(as_file(colours, "PNG", exif=exif)))
    upright = np.asarray(ImageOps.exif_transpose(turned))
    np.testing.assert_array_equal(pixels(DecodedImage(turned)), upright)


def test_what_becomes_of_the_picture_later_changes_nothing(colours):
    before = np.asarray(colours).copy()
    with Image.open(BytesIO(as_file(colours, "BMP"))) as lazy:
        kept = DecodedImage(lazy)
        lazy.putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(pixels(kept), before)


def test_a_large_jpeg_is_decoded_as_its_file_is(colours):
    content = as_file(colours.resize((400, 600)), "JPEG")
    stream = BytesIO(content)
    lazy = Image.open(stream)
    kept, expected = DecodedImage(lazy), open_image(content, size_hint_px=50)
    assert expected.size == (50, 75)  # an eighth of each side is enough
    found = open_image(kept, size_hint_px=50)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert np.asarray(lazy).shape == (600, 400, 3)  # its owner can still read it whole


def test_a_later_frame_is_that_frame(colours):
    frames = [colours, ImageOps.invert(colours)]
    film = Image.open(BytesIO(as_file(colours, "TIFF", save_all=True, append_images=frames[1:])))
    for number, frame in enumerate(frames):
        film.seek(number)
        np.testing.assert_array_equal(pixels(DecodedImage(film)), np.asarray(frame))


def test_a_truncated_picture_is_bad_when_it_is_read(colours):
    content = as_file(colours.resize((200, 200)), "JPEG")[:-900]
    halfway = Image.open(BytesIO(content))
    with pytest.raises(OSError, match="truncated"):
        halfway.load()
    for lazy in (Image.open(BytesIO(content)), halfway):
        with pytest.raises(BadImageError, match=r"^Image in memory is damaged \(.*truncated"):
            open_image(DecodedImage(lazy))


def test_a_closed_picture_is_bad(colours):
    with Image.open(BytesIO(as_file(colours, "PNG"))) as closed:
        pass
    with pytest.raises(BadImageError, match=r"^Image in memory is damaged"):
        open_image(DecodedImage(closed))


def test_paths_names_and_bytes_stay_what_they_are(colours):
    content = as_file(colours, "PNG")
    kept = DecodedImage(colours)
    for image, expected in (
        (None, None),
        (float("nan"), None),
        (np.float32("nan"), None),
        (" ", None),
        ("a/b.jpg", Path("a/b.jpg")),
        (np.str_("a/b.jpg"), Path("a/b.jpg")),
        (PurePosixPath("a/b.jpg"), Path("a/b.jpg")),
        (Path("c.png"), Path("c.png")),
        (content, content),
        (kept, kept),
    ):
        assert image_reference(image) == expected
    assert isinstance(image_reference(colours), DecodedImage)


@pytest.mark.parametrize("thing", [5, ["a.jpg"], {"path": "a.jpg"}, True])
def test_anything_else_is_no_image(thing):
    with pytest.raises(DataError, match=f"not {type(thing).__name__}"):
        image_reference(thing)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_an_array_of_bytes_is_a_picture(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    array[..., 3:] = 255
    expected = np.stack([array] * 3, 2) if len(shape) == 2 else array[..., :3]
    np.testing.assert_array_equal(np.asarray(open_image(image_reference(array))), expected)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2)),
        np.zeros((3, 2, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 2), "u1"),
    ],
)
def test_an_array_of_another_type_or_shape_is_no_picture(array):
    with pytest.raises(
        DataError, match=r"must have dtype uint8 and shape .* not dtype .* and shape \("
    ):
        image_reference(array)


def test_bytes_of_every_kind_and_base64_text_are_the_file(colours):
    file = as_file(colours, "PNG")
    stream = BytesIO(file)
    stream.seek(3)
    text = base64.b64encode(file).decode()
    for image in (bytearray(file), memoryview(file), stream, text, f"data:;base64,{text}"):
        assert image_reference(image) == file
    with pytest.raises(BadImageError, match="not valid base64"):
        image_reference(f"data:image/png;base64,{text}!").read()


def test_grey_values_may_have_a_third_dimension(colours):
    grey = np.asarray(colours.convert("L"))
    np.testing.assert_array_equal(
        pixels(image_reference(grey[..., None])), pixels(image_reference(grey)), strict=True
    )


@pytest.mark.parametrize(
    "address", ["https://x.y/a.jpg", "s3://bucket/a/b.png", "HTTP://x.y/a?b=c"]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_web_address_is_named_and_not_fetched(address, kind):
    with pytest.raises(BadImageError, match=rf"Image '{re.escape(address)}' is a web address"):
        image_reference(kind(address)).read()


def test_an_address_of_a_file_is_its_path():
    assert image_reference("file:///tmp/a%20b.png") == Path("/tmp/a b.png")
    assert image_reference(Path("http/a.png")) == Path("http/a.png")


SAFE = base64.urlsafe_b64encode


def picture(kind, width=40):
    """A file whose base64 text has both letters in which the two alphabets differ."""
    stream = BytesIO()
    Image.effect_noise((width, 30), 90).convert("RGB").save(stream, kind)
    return stream.getvalue()


KINDS = {
    "plain": lambda content: base64.b64encode(content).decode(),
    "without padding": lambda content: base64.b64encode(content).decode().rstrip("="),
    "in lines": lambda content: base64.encodebytes(content).decode().replace("\n", "\r\n"),
    "URL-safe": lambda content: SAFE(content).decode(),
    "URL-safe without padding": lambda content: SAFE(content).decode().rstrip("="),
    "data URL": lambda content: "data:image/png;base64," + base64.b64encode(content).decode(),
    "data URL of no kind": lambda content: "data:;base64," + base64.b64encode(content).decode(),
    "data URL of any kind": lambda content: (
        "data:application/octet-stream;base64," + quote(base64.b64encode(content), safe="")
    ),
    "data URL, URL-safe": lambda content: "data:image/png;base64," + SAFE(content).decode(),
    "data URL, quoted": lambda c: "data:image/png;base64," + quote(base64.b64encode(c), safe=""),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_every_way_to_write_it_gives_the_file(kind, file):
    for width in (40, 41, 42, 43):  # sizes that need padding and sizes that do not
        content = picture(file, width)
        text = KINDS[kind](content)
        assert is_base64_image(text)
        assert decode_base64_image(text) == content


@given(st.binary(max_size=200))
def test_what_has_its_padding_is_decoded_whatever_it_is(content):
    assert decode_base64_image(base64.b64encode(content).decode()) == content
    assert decode_base64_image(SAFE(content).decode()) == content


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "photos/a1.jpg",
        "köln",
        "a?b",
        "QUJDR",
        "QUI=QUI=",
        "data:;base64,QUJD",
        "data:text/html;base64,PGh0bWw+",
        "data:/png;base64,iVBORw0KGgo=",
        "iVBORw0KG!!!",
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        decode_base64_image(text)
    assert not is_base64_image(text)


@pytest.mark.parametrize("name", ["a" * 70, "my-photos_2024/" * 5 + "IMG_1234", "-" * 64])
def test_a_long_path_is_no_image(name):
    assert not is_base64_image(name)
