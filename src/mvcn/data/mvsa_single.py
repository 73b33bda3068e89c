"""MVSA-Single (Niu et al., MMM 2016): tweets whose text and image were labelled separately."""

from collections.abc import Iterator
from pathlib import Path

from mvcn.data.merge_rule import POLARITIES, merge_labels
from mvcn.errors import DataError
from mvcn.types import Corpus, Post

LABEL_FILE = "labelResultAll.txt"
HEADER = "ID\ttext,image"


def read_mvsa_single(root: Path) -> Corpus:
    """Read ``labelResultAll.txt`` and ``data/<id>.txt`` below `root`, in the file's order.

    Posts whose text and image contradict each other go to ``removed["contradictory"]``. Images are
    not looked at: a missing one is found where it is opened.

    Raises:
        DataError: `root` is not the data set, a row is malformed, or a text is missing.
    """
    posts: list[Post] = []
    contradictory: list[str] = []
    for post_id, text_label, image_label in _read_rows(root / LABEL_FILE):
        label = merge_labels(text_label, image_label)
        if label is None:
            contradictory.append(post_id)
            continue
        stem = root / "data" / post_id
        text = _read_text(stem.with_suffix(".txt"))
        image = stem.with_suffix(".jpg")
        posts.append(Post(post_id, text, image, label, text_label, image_label))
    return Corpus(posts, POLARITIES, {"contradictory": tuple(contradictory)})


def _read_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield post id, text label and image label of each row."""
    header, *lines = _read_label_file(path).split("\n")
    if header.strip() != HEADER:
        raise DataError(
            f"{path} begins with {header[:80]!r} instead of {HEADER!r}: "
            "give the folder of MVSA-Single as it was published."
        )
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        row = _parse_row(line, f"{path}, line {number}")
        if row[0] in line_of:
            raise DataError(
                f"{path}, line {number}: post {row[0]} is on line {line_of[row[0]]} already, "
                "so delete one of them."
            )
        line_of[row[0]] = number
        yield row
    if not line_of:
        raise DataError(f"{path} has no posts below its header: restore the published file.")


def _read_label_file(path: Path) -> str:
    try:
        return _decode(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path} cannot be read, so {path.parent} is not the folder of MVSA-Single: "
            f"give the one that holds {LABEL_FILE} and data/."
        ) from error


def _parse_row(line: str, where: str) -> tuple[str, str, str]:
    post_id, _, annotation = line.strip().partition("\t")
    labels = [label.strip().lower() for label in annotation.split(",")]
    if len(labels) != 2 or not (post_id.isascii() and post_id.isdecimal()):  # noqa: PLR2004
        raise DataError(
            f"{where}: {line.strip()[:80]!r} must be a post's number, a tab and two labels, "
            "as in '12<tab>positive,neutral'."
        )
    for label in labels:
        if label not in POLARITIES:
            raise DataError(f"{where}: label {label!r} must be one of {', '.join(POLARITIES)}.")
    return post_id, labels[0], labels[1]


def _read_text(path: Path) -> str:
    try:
        return _decode(path.read_bytes()).strip()
    except OSError as error:
        raise DataError(
            f"Text {path} cannot be read: restore it, or delete its row in {LABEL_FILE}."
        ) from error


def _decode(content: bytes) -> str:
    """Decode UTF-8 where it is valid, else GB18030, the encoding that a quarter of the texts have.

    Latin-1 would silently garble their quotes and ellipses. All published texts decode without
    loss; a byte that is wrong in both encodings becomes a replacement character, since
    one spoilt character does not spoil a post.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030", errors="replace")
