"""Images inside Parquet files are found at their place, or a sentence says why not."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mvcn.data import stored_images
from mvcn.data.datasets.prepared import read_prepared
from mvcn.data.images import image_digest
from mvcn.data.prepare import ROW_GROUP_POSTS, prepare
from mvcn.data.stored_images import ParquetImage
from mvcn.data.table import read_table
from mvcn.errors import BadImageError
from mvcn.types import Corpus, ImageFacts, Post, StoredImage

CONTENTS = [f"image {number}".encode() * (number + 1) for number in range(10)]
KINDS = {
    "binary": pa.array(CONTENTS, pa.binary()),
    "large binary": pa.array(CONTENTS, pa.large_binary()),
    "struct": pa.array([{"bytes": content, "path": None} for content in CONTENTS]),
}


@pytest.fixture(autouse=True)
def nothing_read_before():
    stored_images._ROW_GROUPS.forget()


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "posts.parquet", KINDS["binary"])


def write(path, column, name="image"):
    pq.write_table(pa.table({name: column, "text": ["x"] * len(column)}), path, row_group_size=3)
    return path


def place(path, number, **more):
    return ParquetImage(path, number // 3, number % 3, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_is_read_from_its_place(kind, tmp_path):
    path = write(tmp_path / "posts.parquet", KINDS[kind], "photo")
    images = [place(path, number, column="photo") for number in range(10)]
    assert all(isinstance(image, StoredImage) for image in images)
    for order in (range(10), reversed(range(10))):
        assert {n: images[n].read() for n in order} == dict(enumerate(CONTENTS))


def test_its_identity_is_its_place(path):
    facts = ImageFacts(image_digest(CONTENTS[4]))
    known = place(path, 4, facts=facts)
    assert known == place(path, 4) == pickle.loads(pickle.dumps(known)) != place(path, 5)
    assert len({known, place(path, 4)}) == 1
    assert known.read() == CONTENTS[4]
    assert image_digest(known) == facts.digest


FAULTS = {
    "row": ({"row_group": 0, "row": 3}, "does not exist because the file was changed"),
    "group": ({"row_group": 4, "row": 0}, "does not exist because the file was changed"),
    "negative": ({"row_group": 0, "row": -1}, "does not exist"),
    "column": ({"row_group": 0, "row": 0, "column": "photo"}, "does not exist"),
    "text": ({"row_group": 0, "row": 0, "column": "text"}, "holds string instead of bytes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_place_without_an_image_is_named(fault, path):
    where, message = FAULTS[fault]
    with pytest.raises(BadImageError, match=message) as error:
        ParquetImage(path, **where).read()
    row, group = where["row"] + 1, where["row_group"] + 1
    assert f"in row {row} of row group {group} of {path}" in str(error.value)


def test_rows_are_numbered_from_1_through_the_whole_file(path):
    places = [f"in row {number} of {path}" for number in range(1, len(CONTENTS) + 1)]
    assert [str(post.image) for post in read_table(path).posts] == places


def test_rows_of_prepared_posts_are_numbered_from_1(tmp_path):
    Image.linear_gradient("L").save(stream := io.BytesIO(), "PNG")
    content, count = stream.getvalue(), ROW_GROUP_POSTS + 2
    prepare(
        Corpus([Post(str(n), "words", content) for n in range(count)], ()),
        tmp_path,
        dataset="table",
    )
    (file,) = tmp_path.rglob("*.parquet")
    places = [f"in row {number} of {file}" for number in range(1, count + 1)]
    assert [str(post.image) for post in read_prepared(tmp_path).posts] == places


def test_an_empty_cell_is_no_image(tmp_path):
    path = write(tmp_path / "a.parquet", pa.array([b"x", None], pa.binary()))
    with pytest.raises(BadImageError, match="the cell is empty"):
        place(path, 1).read()


def test_a_file_that_is_gone_changed_or_cut_is_noticed(path):
    image = place(path, 4, facts=ImageFacts(image_digest(CONTENTS[4])))
    assert image.read() == CONTENTS[4]
    write(path, pa.array(CONTENTS[::-1], pa.binary()))
    with pytest.raises(BadImageError, match="has changed since it was listed"):
        image.read()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadImageError, match="cannot be read"):
        image.read()
    path.unlink()
    with pytest.raises(BadImageError, match="the file does not exist"):
        image.read()


def test_a_row_group_is_read_once_while_there_is_room(path, monkeypatch):
    groups = []
    usual = pq.ParquetFile.read_row_group

    def note(self, group, **options):
        groups.append(group)
        return usual(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", note)
    for _ in range(2):
        for number in range(10):
            place(path, number).read()
    assert groups == [0, 1, 2, 3]
    stored_images._ROW_GROUPS.forget()
    monkeypatch.setattr(stored_images, "MAX_CACHED_BYTES", 1)
    groups.clear()
    for number in (0, 1, 3, 4, 0):
        place(path, number).read()
    assert groups == [0, 1, 0]


def test_threads_read_what_one_reads_alone(path):
    numbers = [number % 10 for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: place(path, number).read(), numbers))
    assert found == [CONTENTS[number] for number in numbers]
