"""Separators, quotes, line ends and encodings that are found out, said, or asked for."""

import codecs
import csv
import logging
from io import StringIO

import pytest

from mvcn.data.formats.rows import TableOptions
from mvcn.data.table import read_table
from mvcn.errors import ConfigError, DataError


@pytest.fixture
def read(tmp_path):
    """Write a table from text or bytes, and read it."""

    def write_and_read(content, name="posts.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(path, options=TableOptions(**options))

    return write_and_read


def texts(corpus):
    return [post.text for post in corpus.posts]


@pytest.mark.parametrize("name", ["posts.csv", "posts.tsv", "posts.txt"])
@pytest.mark.parametrize(
    ("separator", "title"), [(",", "comma"), ("\t", "tab"), (";", "semicolon"), ("|", "pipe")]
)
def test_separators_are_found_and_said(separator, title, name, read, caplog):
    caplog.set_level(logging.INFO)
    rows = [["id", "text", "label"], ["1", "so good", "x"], ["2", "so bad", "y"]]
    corpus = read("".join(separator.join(row) + "\n" for row in rows), name)
    assert [(p.id, p.text, p.label) for p in corpus.posts] == [
        ("1", "so good", "x"),
        ("2", "so bad", "y"),
    ]
    assert f"(separator {title})" in caplog.text


def test_texts_may_hold_other_separators(read):
    assert texts(read("text;label\nyes, well, no;x\na|b\tc;y\n")) == ["yes, well, no", "a|b\tc"]


@pytest.mark.parametrize("separator", [";", ",", ":", "^"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_excel_says_what_separates(separator, end, read):
    content = end.join(
        [f"sep={separator}", separator.join(["text", "label"]), f"a{separator}x", ""]
    )
    assert texts(read(content)) == ["a"]
    with pytest.raises(DataError, match=r"row 1 \(line 3\) has 1 cell"):
        read(content.replace(f"a{separator}x", "a"))


def test_empty_cells_beyond_the_header_do_not_count(read):
    assert texts(read("text,label\na,x,,\nb,y,\n")) == ["a", "b"]


def test_tweets_that_begin_with_a_quote_are_read_without_quoting(read, caplog):
    caplog.set_level(logging.INFO)
    raw = 'id\ttext\tlabel\n1\t"best day" they said\tpos\n2\tsad\tneg\n'
    assert texts(read(raw, "raw.tsv")) == ['"best day" they said', "sad"]
    assert "quotes read as characters" in caplog.text


def test_quotes_are_read_as_it_is_said(read):
    content = 'text\tlabel\n"a"\tx\n'
    assert texts(read(content)) == ["a"]
    assert texts(read(content, quoting="minimal")) == ["a"]
    assert texts(read(content, quoting="none")) == ['"a"']


ROWS = [f"{n},the text of post {n},{'pos' if n % 2 else 'neg'}" for n in range(60)]


def with_stray_quotes(first, last, separator):
    rows = [row.replace(",", separator) for row in ROWS]
    rows[first] = rows[first].replace("the text", '"the text')
    before, _, after = rows[last].rpartition(separator)
    rows[last] = f'{before}"{separator}{after}'
    return "\n".join([separator.join(["id", "text", "label"]), *rows])


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize(("first", "last"), [(10, 50), (0, 59), (7, 8), (0, 1)])
def test_a_stray_quote_joins_no_rows(first, last, separator, read):
    content = with_stray_quotes(first, last, separator)
    where = rf"row {first + 1} \(lines {first + 2} to {last + 2}\).*--quoting none"
    with pytest.raises(DataError, match=where):
        read(content)
    assert len(read(content, quoting="none").posts) == 60
    assert len(read(content, quoting="minimal").posts) == 60 - (last - first)


def test_a_stray_quote_joins_no_rows_of_a_class_or_date_of_their_own(read):
    days = [f"{n},text of {n},{'ab'[n % 2]},2024-01-{n // 10 + 1:02d}" for n in range(100)]
    days[50] = days[50].replace("text", '"text')
    days[59] = days[59].replace("of 59", 'of 59"')
    with pytest.raises(DataError, match=r"row 51 \(lines 52 to 61\)"):
        read("\n".join(["id,text,label,day", *days]))
    classes = [f"text of {n},{'a' if n < 40 else 'b'}" for n in range(60)]
    classes[40] = '"' + classes[40]
    classes[59] = classes[59].replace("of 59", 'of 59"')
    with pytest.raises(DataError, match=r"row 41 \(lines 42 to 61\)"):
        read("\n".join(["text,label", *classes]))


def test_a_stray_quote_joins_no_rows_of_a_class_of_two_words(read):
    rows = ["p0,a,pos", 'p1,"a,pos', *(f"p{n},a,so so" for n in range(2, 9)), 'p9,a",so so']
    with pytest.raises(DataError, match=r"row 2 \(lines 3 to 11\)"):
        read("\n".join(["id,text,label", *rows, "p10,a,pos"]))


@pytest.mark.parametrize("column", ["label", "user"])
def test_texts_with_commas_and_line_breaks_are_read_in_a_table_of_two_columns(column, read):
    stream = StringIO(newline="")
    other = [("pos" if n % 2 else "neg") if column == "label" else f"user{n}" for n in range(30)]
    rows = [[f"Hello, dear {n}\nbye, you all", cell] for n, cell in enumerate(other)]
    csv.writer(stream).writerows([["text", column], *rows])
    assert texts(read(stream.getvalue())) == [row[0] for row in rows]


def test_a_stray_quote_joins_no_rows_of_a_small_table(read):
    with pytest.raises(DataError, match=r"row 1 \(lines 2 to 3\).*--quoting minimal"):
        read('text,label\n"a,x\nb",y\n')


LONG_TEXTS = {
    "one comma a line, classes": (["text", "label"], '"Hello, dear\nbye, all"', "pos"),
    "numbers": (["id", "text"], "7", '"Hello dear\nbye, all"'),
    "two lines": (["id", "text", "label"], "7", '"a\nb"', "neg"),
}


@pytest.mark.parametrize("kind", LONG_TEXTS)
def test_texts_over_several_lines_are_read_in_a_table_of_many_rows(kind, read):
    columns, *cells = LONG_TEXTS[kind]
    rows = [
        ["pos" if name == "label" else str(n) if name == "id" else f"post {n}" for name in columns]
        for n in range(100, 140)
    ]
    content = "\n".join(",".join(row) for row in [columns, *rows, cells])
    corpus = read(content)
    assert len(corpus.posts) == 41
    assert "\n" in corpus.posts[-1].text


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(codec, read, caplog):
    caplog.set_level(logging.INFO)
    assert texts(read("text,label\ngrüße 你好,x\n".encode(codec))) == ["grüße 你好"]
    assert (codec in caplog.text) == (codec != "utf-8-sig")


@pytest.mark.parametrize(
    ("mark", "codec"),
    [(codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF32_BE, "utf-32-be")],
)
def test_marks_of_either_byte_order_are_known(mark, codec, read):
    assert texts(read(mark + "text\ngrüße\n".encode(codec))) == ["grüße"]


ENCODED = {
    "cp1252": "it\u2019s a café…",
    "latin-1": "caf\xe9 \x81",
    "cp1251": "привет, как дела",
    "gb18030": "今天天气很好",
    "cp932": "こんにちは、元気ですか",
    "cp949": "안녕하세요 세계",
}


@pytest.mark.parametrize("codec", ENCODED)
def test_another_encoding_is_named_and_then_read(codec, read):
    content = f"text;label\nfine;x\n{ENCODED[codec]};y\n".encode(codec)
    sentence = rf"line 3: byte .* is not UTF-8; read as {codec}, the line is '(.*);y'.*--encoding"
    with pytest.raises(DataError, match=sentence) as error:
        read(content)
    assert repr(f"{ENCODED[codec]};y")[1:-1] in str(error.value)
    assert texts(read(content, encoding=codec))[1] == ENCODED[codec]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_named_and_then_read(codec, read):
    content = "text,label\nso good,x\n".encode(codec)
    with pytest.raises(DataError, match=f"first line is 'text,label'.*--encoding {codec}"):
        read(content)
    assert texts(read(content, encoding=codec)) == ["so good"]


def test_one_bad_line_among_others_in_utf8_is_to_be_corrected(read):
    content = "text,label\nGrüße,x\n".encode() + "Grüße,y\n".encode("cp1252")
    with pytest.raises(DataError, match=r"line 3: .* unlike the letters of 1 other line:"):
        read(content)


@pytest.mark.parametrize(("codec", "given"), [("utf-8", "ascii"), ("utf-16", "utf-8")])
def test_a_wrong_encoding_is_to_be_left_out(codec, given, read):
    with pytest.raises(DataError, match=f"the file is {codec.upper()}: leave --encoding out"):
        read("text,label\nGrüße,x\n".encode(codec), encoding=given)


def test_an_encoding_that_garbles_is_reported(read, caplog):
    read("text,label\nGrüße,x\n".encode(), encoding="latin-1")
    assert "is valid UTF-8, but is read as latin-1" in caplog.text


def test_a_file_that_ends_early_or_is_no_text_is_reported(read):
    with pytest.raises(DataError, match="starts as UTF-16, but is truncated"):
        read("text,label\na,x\n".encode("utf-16")[:-1])
    with pytest.raises(DataError, match="is an Excel workbook or an archive"):
        read(b"PK\3\4\x14\0")


def test_a_quoted_table_with_a_bad_quote_is_refused(read):
    rows = [f'{n},"he said ""hi"" {n}",x' for n in range(10)]
    with pytest.raises(DataError, match=r"row 11 .* not valid CSV .*--quoting none"):
        read("\n".join(["id,text,label", *rows, '50,"bad" quote,x']))


def test_a_table_of_one_column_may_have_every_separator_in_its_texts(read, caplog):
    caplog.set_level(logging.INFO)
    assert texts(read('text\nyes, no; or\ta|b\n"quoted, too"\n')) == [
        "yes, no; or\ta|b",
        "quoted, too",
    ]
    assert "(one column)" in caplog.text


def test_several_columns_without_a_name_do_not_matter(read):
    assert texts(read("text;label;;;\na;x;;;\n")) == ["a"]


@pytest.mark.parametrize("codec", ["klingon", "base64", "rot13", "", "a\0b"])
def test_what_is_no_encoding_is_refused(codec, read):
    with pytest.raises(ConfigError, match="is not a known text encoding"):
        read("text\na\n", encoding=codec or " ")


def test_json_lines_may_have_another_encoding(read):
    line = '{"text": "caf\xe9", "label": "x"}\n'
    assert texts(read(line.encode("cp1252"), "a.jsonl", encoding="cp1252")) == ["café"]
    assert texts(read(line.encode("utf-16"), "a.jsonl")) == ["café"]
    with pytest.raises(
        DataError, match=r"row 1 \(line 1\): byte .* read as cp1252, .*café.*--encoding cp1252"
    ):
        read(line.encode("cp1252"), "a.jsonl")


@pytest.mark.parametrize(
    ("name", "options", "useless"),
    [
        ("a.jsonl", {"quoting": "none"}, "--quoting"),
        ("a.csv", {"sheet": "posts"}, "--sheet"),
        ("a.parquet", {"encoding": "cp1252"}, "--encoding"),
    ],
)
def test_an_option_without_use_is_refused(name, options, useless, read):
    with pytest.raises(ConfigError, match=f"{useless} cannot be used with .*{name}: leave"):
        read('{"text": "a"}', name, **options)
