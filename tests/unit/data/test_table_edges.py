"""Corners of the reader of tables: what hides, costs time or memory, or is said twice."""

import base64
import time

import pytest

from mvcn.data.image_files import ImageFolder
from mvcn.data.images import read_image
from mvcn.data.synthetic import generate_posts
from mvcn.data.table import read_table
from mvcn.errors import BadImageError, DataError


@pytest.fixture(scope="module")
def png():
    return generate_posts(1, seed=4)[0].post.image


@pytest.fixture
def read(tmp_path):
    def write_and_read(name, content, **options):
        (tmp_path / name).write_text(content)
        return read_table(tmp_path / name, **options)

    return write_and_read


def test_a_post_without_a_split_is_in_no_part(read):
    rows = "text,split\na,train\nb,\nc,dev\n"
    parts = {name: read("a.csv", rows, splits=[name]).posts for name in ("train", "dev", "test")}
    assert {name: [p.text for p in posts] for name, posts in parts.items()} == {
        "train": ["a"],
        "dev": ["c"],
        "test": [],
    }
    assert [p.text for p in read("a.csv", rows).posts] == ["a", "b", "c"]


@pytest.mark.parametrize("rows", ["text\na\n", "text,split\na,\n"])
def test_a_table_without_splits_gives_all_posts_to_each(rows, read):
    assert len(read("a.csv", rows, splits=["train"]).posts) == 1


def test_a_column_without_a_name_is_nobodys(read):
    posts = read("a.csv", ",text,label\n0,good,yes\n", columns={"text": "label"}).posts
    assert [(p.text, p.label) for p in posts] == [("yes", None)]
    with pytest.raises(DataError, match="neither a column 'text' nor 'image'"):
        read("a.csv", ",text,label\n0,good,yes\n", columns={"text": ""})


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(DataError, match=r"is a folder.*--data.*image-folder"):
        read_table(tmp_path)


def test_long_numbers_are_labels(read):
    long = "7" * 200
    assert read("a.csv", f"text,label\na,{long}\nb,8\n").class_names == ("8", long)


def test_a_joiner_inside_a_label_is_part_of_it(read):
    word = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # Persian, with a non-joiner
    assert read("a.csv", f"text,label\na,{word}\nb,x\n").posts[0].label == word


def test_a_column_that_is_far_from_ours_is_nobodys(read):
    assert read("a.csv", "text,fid,label_source\na,7,me\n").posts[0].id == "1"


@pytest.mark.parametrize("cell", ["{}", '{"a": 1}'])
def test_an_image_object_says_where_the_image_is(read, cell):
    (post,) = read("a.jsonl", f'{{"text": "a", "image": {cell}}}').posts
    with pytest.raises(BadImageError, match=r"row 1.*without 'path' and 'bytes'"):
        read_image(post.image)
    assert read("a.jsonl", '{"text": "a", "image": {"path": null}}').posts[0].image is None


@pytest.mark.parametrize("cell", ["NaN", '""', "[]", "[null]", '" "', '{"path": ""}', '"None"'])
def test_an_empty_cell_is_no_image(read, cell):
    rows = f'{{"text": "a", "image": {cell}}}\n{{"text": "b", "image": "b.png"}}'
    assert read("a.jsonl", rows).posts[0].image is None


@pytest.mark.parametrize("cell", ["\\N", "NaN", "nan", "<NA>", "#N/A", "NULL", "null", "None"])
def test_what_programs_write_into_empty_cells_is_no_image(read, tmp_path, cell):
    rows = f"text,image\na,b.png\nb,{cell}\n"
    assert read("a.csv", rows).posts[1].image is None
    (tmp_path / cell).parent.mkdir(exist_ok=True)
    (tmp_path / cell).write_bytes(b"a file")
    assert read("a.csv", rows).posts[1].image == tmp_path / cell


def test_other_words_are_paths(read, tmp_path):
    posts = read("a.csv", "text,image\na,none.png\nb,NULLS\nc,n/a\n").posts
    assert [post.image for post in posts] == [
        tmp_path / "none.png",
        tmp_path / "NULLS",
        tmp_path / "n/a",
    ]


def test_a_list_of_one_image_is_that_image(read, png, tmp_path):
    held = base64.b64encode(png).decode()
    for cell in (f'["{held}"]', f'[{{"bytes": "{held}"}}]', f'[["{held}"]]'):
        (post,) = read("a.jsonl", f'{{"image": {cell}}}').posts
        assert read_image(post.image) == png
    (post,) = read("a.jsonl", '{"image": ["pics/a.jpg"]}').posts
    assert post.image == tmp_path / "pics/a.jpg"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('["a.png", "b.png"]', r"row 1.*the image is a list of 2 images: keep one\.$"),
        ("7", "the image is a number, not a path"),
        ("7.5", "the image is a number with a fraction, not a path"),
        ("true", "the image is true or false, not a path"),
        ('"https://a.b/c.png"', "'https://a.b/c.png' is a web address"),
        ('"file:///etc/hosts"', "'/etc/hosts' is outside"),
        (r'"b\"\\x89PNG\""', r"bytes as Python prints them \(b'...'\): write them as base64\.$"),
    ],
)
def test_a_cell_that_is_no_image_is_told_in_plain_words(read, cell, message):
    (post,) = read("a.jsonl", f'{{"text": "a", "image": {cell}}}').posts
    with pytest.raises(BadImageError, match=message):
        read_image(post.image)


def test_bytes_as_python_shows_them_are_not_printed(read, png):
    (post,) = read("a.csv", f'text,image\na,"{str(png).replace(chr(34), chr(34) * 2)}"\n').posts
    with pytest.raises(BadImageError, match="as Python prints them") as caught:
        read_image(post.image)
    assert len(str(caught.value)) < 300


def test_an_address_of_a_file_is_an_absolute_path(read, tmp_path, png):
    (tmp_path / "a b.png").write_bytes(png)
    for start in ("file://", "FILE://localhost"):
        (post,) = read("a.csv", f"image\n{start}{tmp_path}/a%20b.png\n").posts
        assert post.image == tmp_path / "a b.png"


def test_base64_text_that_is_no_image_is_no_path(read):
    (post,) = read("a.csv", f"text,image\na,{'QUJD' * 100}\n").posts
    with pytest.raises(BadImageError, match=r"row 1.*neither a path nor an image as base64"):
        read_image(post.image)


MALFORMED = {
    "no base64": "data:image/png,abc",
    "no image": "data:text/plain;base64,YQ==",
    "nothing": "data:",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_data_address_is_no_path(kind, read):
    (post,) = read("a.jsonl", f'{{"image": "{MALFORMED[kind]}"}}').posts
    with pytest.raises(BadImageError, match=r"row 1.*is not a valid data URL:"):
        read_image(post.image)


@pytest.mark.parametrize("prefix", ["DATA:IMAGE/PNG;BASE64,", "data:image/png;name=a.png;base64,"])
def test_data_addresses_may_have_capitals_and_parameters(prefix, png, read):
    cell = prefix + base64.b64encode(png).decode()
    assert read_image(read("a.jsonl", f'{{"image": "{cell}"}}').posts[0].image) == png


@pytest.mark.parametrize("name", ["A" * 61 + "===", "A" * 64, "9j/" + "pics/" * 12 + "a.jpg"])
def test_what_only_resembles_base64_is_a_path(name, tmp_path, read):
    assert read("a.csv", f"image\n{name}\n").posts[0].image == tmp_path / name


def test_whitespace_and_many_columns_take_no_time(read):
    begin = time.process_time()
    (post,) = read("a.csv", f"image\na{' ' * 1_000_000}!\n").posts
    with pytest.raises(BadImageError, match="is neither a path nor an image"):
        read_image(post.image)
    names = ",".join(f"c{number}" for number in range(100_000))
    with pytest.raises(DataError, match="neither a column"):
        read("b.csv", f"{names}\n{names}\n")
    assert time.process_time() - begin < 5  # a square of either number would take minutes


def test_many_images_in_few_folders_are_checked_quickly(tmp_path):
    for number in range(10):
        (tmp_path / str(number)).mkdir()
    folder = ImageFolder(tmp_path)
    begin = time.process_time()
    for number in range(20_000):
        folder.path(f"{number % 10}/{number}.jpg", "here")
    assert time.process_time() - begin < 6  # 0.4 on a computer that is not busy


def test_a_folder_of_images_must_be_there(tmp_path, read):
    with pytest.raises(DataError, match=r"image folder .*nowhere does not exist"):
        read("a.csv", "text\na\n", images=tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="cannot be"):
        read_table(tmp_path / "loop" / "a.csv")


def test_quotes_in_tab_separated_files(read):
    rows = 'text\tlabel\nso "cool" "\tx\n"a\tb ""c"""\ty\n'
    assert [p.text for p in read("a.tsv", rows).posts] == ['so "cool" "', 'a\tb "c"']
    raw = 'text\tlabel\n"so cool\tx\nb\ty\n'
    assert [p.text for p in read("a.tsv", raw).posts] == ['"so cool', "b"]
