"""The reader of MVSA-Single on folders made here, whole and broken."""

from collections import Counter

import pytest

from mvcn.data.bad_images import require_any_image, require_images
from mvcn.data.datasets.mvsa import POLARITIES, merge_labels, read_mvsa_single
from mvcn.errors import BadImageError, DataError
from mvcn.types import Post

HEADER = "ID\ttext,image"


@pytest.fixture
def make(tmp_path):
    """Write the label file from its lines, and each text; return the folder."""

    def write(lines, texts=None, newline="\n"):
        (tmp_path / "data").mkdir()
        content = newline.join([*lines, ""])
        (tmp_path / "labelResultAll.txt").write_bytes(content.encode())
        for post_id, text in (texts or {}).items():
            (tmp_path / "data" / f"{post_id}.txt").write_bytes(text)
        return tmp_path

    return write


# The rule as a table, from the words of Xu & Mao: equal stays, neutral gives way, opposites go.
MERGED = {
    ("positive", "positive"): "positive",
    ("neutral", "neutral"): "neutral",
    ("negative", "negative"): "negative",
    ("positive", "neutral"): "positive",
    ("neutral", "positive"): "positive",
    ("negative", "neutral"): "negative",
    ("neutral", "negative"): "negative",
    ("positive", "negative"): None,
    ("negative", "positive"): None,
}


@pytest.mark.parametrize("pair", MERGED)
def test_merges_labels(pair):
    assert merge_labels(*pair) == MERGED[pair]


def test_the_rule_gives_the_published_counts_of_the_whole_set():
    # Pairs (text, image) over all 4,869 rows, and the counts of kept posts, as published.
    pairs = {
        ("positive", "positive"): 1398,
        ("neutral", "positive"): 1030,
        ("negative", "negative"): 724,
        ("neutral", "neutral"): 470,
        ("neutral", "negative"): 421,
        ("negative", "positive"): 280,
        ("positive", "neutral"): 255,
        ("negative", "neutral"): 213,
        ("positive", "negative"): 78,
    }
    counts = Counter()
    for pair, count in pairs.items():
        counts[merge_labels(*pair)] += count
    assert counts == {"positive": 2683, "neutral": 470, "negative": 1358, None: 358}


def test_reads_posts_in_order_and_sets_contradictory_ones_aside(make):
    lines = [HEADER, "9\tneutral,positive", "2\tpositive,negative", "5\tnegative,negative"]
    root = make(lines, {9: b"nine \n", 5: b"five"})
    corpus = read_mvsa_single(root)
    image = root / "data"
    assert corpus.posts == [
        Post("9", "nine", image / "9.jpg", "positive", "neutral", "positive"),
        Post("5", "five", image / "5.jpg", "negative", "negative", "negative"),
    ]
    assert corpus.class_names == POLARITIES == ("positive", "neutral", "negative")
    assert corpus.removed == {"contradictory": ("2",)}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"plain", "plain"),
        (b"it\xa1\xafs\xa1\xad", "it\u2019s\u2026"),  # GB18030: right quote, ellipsis
        (b"\xc4\xe3\xba\xc3", "\u4f60\u597d"),
        (b"\x94\x39\xfc\x36", "\U0001f600"),  # four bytes, which GBK does not have
        (b"it\xe2\x80\x99s", "it\u2019s"),
        (b"\xef\xbb\xbfmarked", "marked"),
        ("in UTF-16 \u4f60\U0001f600".encode("utf-16"), "in UTF-16 \u4f60\U0001f600"),
        (b"\xfe\xff" + "other".encode("utf-16-be"), "other"),
        (b"wrong \xff here", "wrong \ufffd here"),
        (b"", ""),
    ],
)
def test_decodes_texts(make, content, text):
    root = make([HEADER, "1\tneutral,neutral"], {1: content})
    assert read_mvsa_single(root).posts[0].text == text


def test_the_encodings_of_texts_are_reported(make):
    lines = [HEADER, *(f"{n}\tneutral,neutral" for n in range(3))]
    root = make(lines, {0: b"plain", 1: b"it\xa1\xafs", 2: "words".encode("utf-16")})
    assert read_mvsa_single(root).encodings == {"gb18030": ("1",), "utf-16": ("2",)}


def test_texts_with_bytes_that_are_no_characters_are_counted(make, caplog):
    lines = [HEADER, *(f"{n}\tneutral,neutral" for n in range(4))]
    root = make(lines, {0: b"it\xa1\xafs", 1: b"a \xff b", 2: b"\xff", 3: b"plain"})
    read_mvsa_single(root)
    (message,) = caplog.messages
    assert "2 texts have undecodable bytes" in message
    assert message.endswith(f"such as {root / 'data' / '1.txt'}.")


def test_the_case_of_the_name_of_the_folder_does_not_matter(make):
    root = make([HEADER, "1\tneutral,neutral"], {1: b"words"})
    (root / "data").rename(root / "Data")
    (post,) = read_mvsa_single(root).posts
    assert (post.text, post.image) == ("words", root / "Data" / "1.jpg")


def test_missing_images_are_asked_for_where_they_belong(make):
    posts = read_mvsa_single(make([HEADER, "1\tneutral,neutral"], {1: b"words"})).posts
    for require, error in (
        (lambda: require_images(posts, "error"), BadImageError),
        (lambda: require_any_image(posts), DataError),
    ):
        with pytest.raises(error, match=r"put the images into .*data, next to labelResultAll") as e:
            require()
        assert "--images" not in str(e.value)


def test_accepts_windows_line_ends_and_empty_lines(make):
    root = make([HEADER, "1\tneutral,neutral", "", " "], {1: b"a"}, newline="\r\n")
    assert [post.image_label for post in read_mvsa_single(root).posts] == ["neutral"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2", "'2' must be a post's number and 1 pair"),
        ("2\tpositive", "must be a post's number"),
        ("2\tpositive,neutral,negative", "must be a post's number"),
        ("2\tpositive,neutral\tpositive,neutral", "must be a post's number"),
        ("2,positive,neutral", "must be a post's number"),
        ("../2\tpositive,neutral", "must be a post's number"),
        ("two\tpositive,neutral", "must be a post's number"),
        ("2\tpositive,neutr", "label 'neutr' must be one of positive, neutral, negative"),
        ("2\thappy,neutral", "label 'happy' must be one of"),
        ("2\t,", "label '' must be one of"),
        ("1\tpositive,neutral", "post 1 is already on line 2"),
    ],
)
def test_names_file_and_line_of_a_malformed_row(make, row, message):
    root = make([HEADER, "1\tneutral,neutral", row], {1: b"a", 2: b"b"})
    with pytest.raises(DataError, match=message) as error:
        read_mvsa_single(root)
    assert str(error.value).startswith(f"{root / 'labelResultAll.txt'}, line 3: ")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("ID\ttext,image\ttext,image\ttext,image", "use the MVSA-Single folder"),  # Multiple
        ("1\tneutral,neutral", "begins with '1.tneutral,neutral' instead of"),
        ("", "begins with '' instead of"),
    ],
)
def test_refuses_another_header(make, header, message):
    with pytest.raises(DataError, match=message):
        read_mvsa_single(make([header, "1\tneutral,neutral"]))


def test_refuses_a_table_without_posts(make):
    with pytest.raises(DataError, match="no posts below its header"):
        read_mvsa_single(make([HEADER]))


def test_names_a_missing_text(make):
    root = make([HEADER, "1\tneutral,neutral"])
    with pytest.raises(DataError, match=r"Text .*1\.txt cannot be read: put it back"):
        read_mvsa_single(root)


@pytest.mark.parametrize("name", [".", "missing", "file.txt"])
def test_refuses_a_root_that_is_not_the_data_set(tmp_path, name):
    (tmp_path / "file.txt").write_text("a")
    with pytest.raises(DataError, match="use the MVSA-Single folder"):
        read_mvsa_single(tmp_path / name)
