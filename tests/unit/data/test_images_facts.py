"""Facts of images: files good and bad, reduced and turned, against what was drawn into them."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from io import BytesIO

import imagehash
import numpy as np
import pytest
from PIL import Image

from mvcn.data.images import describe_image, describe_images, describe_images_of
from mvcn.errors import BadImageError
from mvcn.types import ImageFacts, Post, StoredImage


def drawing(width, height, seed=0):
    """Smooth blobs: noise of 6 x 6 pixels scaled up."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, format="JPEG", orientation=None):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    stream = BytesIO()
    image.save(stream, format, exif=exif)
    return stream.getvalue()


@dataclass(frozen=True)
class Stored(StoredImage):
    content: bytes | None
    facts: ImageFacts | None = None

    def __str__(self):
        return "row 3 of posts.parquet"

    def read(self):
        if self.content is None:
            raise BadImageError("Image row 3 of posts.parquet is gone: restore it.")
        return self.content


def different_bits(facts, other):
    return (facts.perceptual_hash ^ other.perceptual_hash).bit_count()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(1600, 900), (40, 30), (801, 800)])
def test_describes_a_file_its_bytes_and_a_stored_copy_alike(tmp_path, format, size):
    content = encoded(drawing(*size), format)
    path = tmp_path / "a.any"
    path.write_bytes(content)
    facts = describe_image(path)
    assert facts == describe_image(content) == describe_image(Stored(content))
    assert facts.digest == hashlib.blake2b(content, digest_size=16).hexdigest()
    assert (facts.width_px, facts.height_px) == size
    assert facts.problem is None


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(1600, 900), (801, 800), (30, 20)])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 99])
def test_size_is_that_of_the_upright_picture(format, size, orientation):
    facts = describe_image(encoded(drawing(*size), format, orientation))
    expected = size[::-1] if orientation in (5, 6, 7, 8) else size
    assert (facts.width_px, facts.height_px) == expected


def test_the_perceptual_hash_is_that_of_the_undecimated_picture_but_for_few_bits():
    for seed in range(5):
        picture = drawing(1600, 1200, seed)
        reference = int(str(imagehash.phash(picture)), 16)
        facts = describe_image(encoded(picture))
        assert (facts.perceptual_hash ^ reference).bit_count() <= 4


def test_a_scaled_and_compressed_copy_has_nearly_the_same_hash_and_another_picture_has_not():
    picture = drawing(900, 700)
    facts = describe_image(encoded(picture))
    copy = describe_image(encoded(picture.resize((300, 233)), "WEBP"))
    assert copy.digest != facts.digest
    assert different_bits(facts, copy) <= 4
    assert different_bits(facts, describe_image(encoded(drawing(900, 700, seed=1)))) > 12


def test_contrast_is_the_deviation_of_the_grey_values():
    assert describe_image(encoded(Image.new("RGB", (64, 64), "teal"), "PNG")).contrast == 0
    halves = Image.new("L", (64, 64), 50)
    halves.paste(150, (0, 0, 64, 32))
    # Half the pixels are 50 below the mean and half 50 above it.
    assert describe_image(encoded(halves, "PNG")).contrast == pytest.approx(50, abs=2)


def test_a_bad_image_is_described(tmp_path):
    cut = encoded(drawing(600, 600))[:-2000]
    (tmp_path / "cut.jpg").write_bytes(cut)
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    facts = {path: describe_image(tmp_path / path) for path in ("cut.jpg", "empty.jpg")}
    assert facts["cut.jpg"].digest == hashlib.blake2b(cut, digest_size=16).hexdigest()
    assert "cut.jpg is damaged" in facts["cut.jpg"].problem
    assert "empty.jpg is empty" in facts["empty.jpg"].problem
    for path in ("none.jpg", "pipe.jpg", ".", "\0"):
        facts[path] = describe_image(tmp_path / path)
        assert facts[path].digest == ""
        assert "check its path" in facts[path].problem
    assert all(fact.perceptual_hash is None for fact in facts.values())
    assert "given bytes is not an image" in describe_image(b"text").problem


def test_a_truncated_image_that_is_read_is_described_with_how_much_is_there(tmp_path):
    whole = encoded(drawing(60, 600))
    (tmp_path / "a.jpg").write_bytes(whole[:-2])
    facts = describe_image(tmp_path / "a.jpg")
    assert facts.truncation == (
        f"Image {tmp_path / 'a.jpg'} is truncated: 600 of its 600 rows can be decoded."
    )
    assert facts.digest == hashlib.blake2b(whole[:-2], digest_size=16).hexdigest()
    intact = describe_image(whole)
    assert replace(facts, digest=intact.digest, truncation=None) == intact


def test_truncated_images_are_counted_and_the_first_are_named(caplog):
    cut = [encoded(drawing(60, 600, seed))[:-12] for seed in range(5)]
    posts = [
        Post(str(i), "", image) for i, image in enumerate([*cut, encoded(drawing(9, 9)), None])
    ]
    describe_images_of(posts)
    (message,) = caplog.messages
    assert message.startswith("5 truncated images are used: The image in the given bytes is trun")
    assert message.count("of its 600 rows") == 3
    assert message.endswith(" (and 2 more)")
    describe_images_of(posts[5:])
    assert len(caplog.messages) == 1


def test_takes_a_stored_image_at_its_word_and_reads_one_without_facts():
    stated = ImageFacts("abc", 3, 4, 5, 6.0)
    assert describe_image(Stored(None, stated)) is stated
    assert (
        describe_image(Stored(None)).problem == "Image row 3 of posts.parquet is gone: restore it."
    )
    assert "row 3 of posts.parquet is not an image" in describe_image(Stored(b"text")).problem


def test_a_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(drawing(800, 600)))
    opened = []
    sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
    describe_image(path)
    assert opened.count(str(path)) == 1


def test_describes_images_in_order_with_a_progress_bar(capsys):
    images = [encoded(drawing(50, 40, seed)) for seed in range(40)] + [b"text"]
    facts = list(describe_images(images, "Looking"))
    assert facts == [describe_image(image) for image in images]
    assert "Looking: 100%" in capsys.readouterr().err


def test_few_images_are_described_ahead_of_the_reader():
    reads = []

    @dataclass(frozen=True)
    class Counted(Stored):
        def read(self):
            reads.append(1)
            return b"text"

    facts = describe_images([Counted(None)] * 500)
    next(facts)
    assert len(reads) <= 50
    facts.close()


def test_the_hash_of_images_does_not_load_torch():
    program = "import sys, mvcn.data.images; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
