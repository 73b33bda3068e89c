"""Tables of any separator, quotes, line end, encoding and names: all cells, or one sentence."""

import csv
import os
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvcn.data.formats.columns import ALIASES
from mvcn.data.formats.rows import TableOptions
from mvcn.data.table import read_table
from mvcn.errors import MvcnError

EXAMPLES = int(os.environ.get("MVCN_FUZZ_EXAMPLES", "400")) // 2
"""Of each of the two tests."""
CODECS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "gb18030")
SEPARATORS = {",": ".csv", "\t": ".tsv", ";": ".csv", "|": ".txt"}
OURS = ("id", "text", "label")

anything = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=15
) | st.text(st.sampled_from("ab ,;\t|\"'\n\r="), max_size=15)
words = st.text(st.sampled_from("ab .!'"), min_size=1, max_size=15)
names = {ours: st.sampled_from((ours, *ALIASES[ours])) for ours in OURS}
others = st.sampled_from(["user", "date", "a b", "likes,", "lang;", "x\ty", 'so "called"', "n|m"])


@st.composite
def tables(draw, texts):
    """Return header and rows with an id, a text, a label and perhaps a column that nobody reads."""
    case = draw(st.sampled_from([str, str.upper, str.title]))
    header = [case(draw(names[ours])) for ours in OURS]
    cells = st.tuples(texts, st.sampled_from(["pos", "neg", "so so"]), texts)
    drawn = draw(st.lists(cells, min_size=1, max_size=12))
    rows = [[f"p{number}", *row] for number, row in enumerate(drawn)]
    if draw(st.booleans()):
        return header, [row[:3] for row in rows]
    return [*header, draw(others)], rows


def write(path, header, rows, separator, line_end, codec, quoting):
    stream = StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, lineterminator=line_end, quoting=quoting)
    writer.writerows([header, *rows])
    path.write_bytes(stream.getvalue().encode(codec, "replace"))


def read(path, codec, quoting="auto"):
    """Return the posts, or the sentence by which the table is refused."""
    encoding = codec if codec in ("cp1252", "gb18030") else None
    try:
        corpus = read_table(path, options=TableOptions(encoding=encoding, quoting=quoting))
    except MvcnError as error:
        return str(error)
    return [[post.id, post.text, post.label] for post in corpus.posts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=EXAMPLES)
@given(
    table=tables(anything),
    separator=st.sampled_from(list(SEPARATORS)),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    codec=st.sampled_from(CODECS),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_quoted_tables_are_read_or_refused(folder, table, separator, line_end, codec, quoting):
    header, rows = table
    path = folder / f"posts{SEPARATORS[separator]}"
    write(path, header, rows, separator, line_end, codec, quoting)
    found = read(path, codec)
    expected = [[cell.encode(codec, "replace").decode(codec) for cell in row[:3]] for row in rows]
    if isinstance(found, list):
        assert found == expected
    else:
        assert any({"\r", "\n"} & set(cell) for row in rows for cell in row)


@settings(max_examples=EXAMPLES)
@given(
    table=tables(words),
    separator=st.sampled_from(list(SEPARATORS)),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    codec=st.sampled_from(CODECS),
    quotes=st.lists(st.tuples(st.integers(0, 11), st.sampled_from("^$^"), st.integers(1, 14))),
)
def test_stray_quotes_join_no_rows(folder, table, separator, line_end, codec, quotes):
    header, rows = table
    for number, where, position in quotes:
        text = rows[number % len(rows)][1]
        place = {"^": 0, "$": len(text)}.get(where, position)
        rows[number % len(rows)][1] = f'{text[:place]}"{text[place:]}'
    lines = [separator.join(row) for row in ([*header[:3]], *(row[:3] for row in rows))]
    path = folder / f"raw{SEPARATORS[separator]}"
    path.write_bytes(line_end.join(lines).encode(codec))
    literal = [row[:3] for row in rows]
    assert read(path, codec, "none") == literal
    found = read(path, codec)
    if isinstance(found, list):  # a quoted text may have been taken for one, never a row for a cell
        assert [row[::2] for row in found] == [row[::2] for row in literal]
        unquoted = [[row[0], row[1][1:-1].replace('""', '"'), row[2]] for row in literal]
        assert all(f in (r, u) for f, r, u in zip(found, literal, unquoted, strict=True))
