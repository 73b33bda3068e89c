"""JSON lines: what is missing, broken, repeated or read again, by the number of its line."""

import base64
import os

import pytest

from mvcn.data.formats.rows import MAX_CELL_CHARACTERS
from mvcn.data.images import read_image
from mvcn.data.synthetic import generate_posts
from mvcn.data.table import read_table
from mvcn.errors import BadImageError, DataError


@pytest.fixture(scope="module")
def png():
    return generate_posts(1, seed=4)[0].post.image


def test_json_lines_may_leave_out_what_is_null(tmp_path):
    rows = '{"text": "a"}\n{"text": "b", "photo": "b.png"}\n'
    (tmp_path / "a.jsonl").write_text(rows)
    posts = read_table(tmp_path / "a.jsonl", columns={"image": "photo"}).posts
    assert [p.image and p.image.name for p in posts] == [None, "b.png"]


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "a", "geo": NaN}',
        '{"text": "a", "user": "\\ud83d"}',
        '{"text": "a", "lang": "en", "lang": "de"}',
        '{"text": "a", "place": {"x": 1, "x": 2}}',
    ],
)
def test_keys_that_are_not_read_do_not_matter(line, tmp_path):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    assert read_table(tmp_path / "a.jsonl").posts[0].text == "a"


BROKEN_LINES = {
    "half a line": (b'{"text": "a"}\n{"text": "b', r"row 2 \(line 2\) is not a JSON object"),
    "no object": (b'\n["a"]\n', r"row 1 \(line 2\) is not a JSON object: write one per line"),
    "not UTF-8": (b'{"text": "\xff"}', r"row 1.*byte 10 .* is not UTF-8"),
    "NUL": (b'{"text": "a\0"}', r"row 1.*is not a JSON object"),
    "key twice": (b'{"text": "a", "text": "b"}', r"row 1.*'text' occurs twice"),
    "text of numbers": (b'{"text": 3}', r"row 1.*'text' is a number"),
    "label of list": (b'{"text": "a", "label": ["b"]}', r"row 1.*'label' is a list"),
    "label of fraction": (b'{"text": "a", "label": 1.5}', r"row 1.*'label' is a number with"),
    "deep": (b"[" * 100_000, r"row 1.*is not a JSON object"),
    "nothing": (b"\n\n", "has no rows"),
}


@pytest.mark.parametrize("fault", BROKEN_LINES)
def test_a_broken_json_line_is_named(fault, tmp_path):
    content, message = BROKEN_LINES[fault]
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "a.jsonl")


def test_a_huge_json_line_is_refused_before_it_is_read_whole(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "' + b"a" * MAX_CELL_CHARACTERS + b'"}')
    with pytest.raises(DataError, match="line of more than 20,000,000 bytes"):
        read_table(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("cell", "message"), [("7", "image is a number"), ('"a\\u0000b"', "is neither a path")]
)
def test_a_json_value_that_is_no_image_is_a_bad_image(cell, message, tmp_path):
    (tmp_path / "a.jsonl").write_text(f'{{"text": "a", "image": {cell}}}')
    (post,) = read_table(tmp_path / "a.jsonl").posts
    with pytest.raises(BadImageError, match=rf"row 1.*{message}"):
        read_image(post.image)


def test_a_json_line_that_changed_is_a_bad_image(png, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"image": "{base64.b64encode(png).decode()}"}}\n')
    image = read_table(path).posts[0].image
    assert image.read() == png
    path.write_text("{}\n")
    with pytest.raises(
        BadImageError, match=r"a\.jsonl cannot be read because the file has changed"
    ):
        image.read()


def test_a_pipe_in_place_of_json_lines_is_a_bad_image(tmp_path, png):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"image": "{base64.b64encode(png).decode()}"}}')
    image = read_table(path).posts[0].image
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BadImageError, match="cannot be read because the file has changed"):
        image.read()
