"""Base64 text of images, told from paths and read as every program writes it."""

import base64
from io import BytesIO
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mvcn.data.base64_images import decode_base64_image, is_base64_image

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
