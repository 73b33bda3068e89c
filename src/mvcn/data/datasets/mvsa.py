"""MVSA (Niu et al., MMM 2016): tweets with separate labels of text and image."""

import codecs
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from mvcn.data.image_files import IMAGE_SUFFIXES, TEXT_SUFFIXES, files_by_id, find_place, names_in
from mvcn.data.row_errors import RowErrors
from mvcn.errors import DataError, count_of
from mvcn.files import require_allowed
from mvcn.types import Corpus, Post

LOG = logging.getLogger(__name__)

POLARITIES = ("positive", "neutral", "negative")
LABEL_FILE = "labelResultAll.txt"
FOLDER = "data"
COLUMNS = "text,image"
ANNOTATORS = 3
"""Of each post of MVSA-Multiple."""
UTF_8, UTF_16, OTHER_ENCODING = "utf-8", "utf-16", "gb18030"
REPLACEMENT = "\ufffd"

CONTRADICTORY = "contradictory"
"""Reason for removed posts: text and image are positive and negative, so no label follows."""
NO_MAJORITY = "without a majority"

Annotation = tuple[str, str]
"""Text label and image label by one annotator."""


def merge_labels(text_label: str, image_label: str) -> str | None:
    """Return the polarity of a post, or None if text and image contradict each other.

    Equal labels stay; neutral gives way to the other; positive against negative is contradictory.

    Source:
        Xu & Mao, CIKM 2017 (MultiSentiNet).
    """
    if image_label in (text_label, "neutral"):
        return text_label
    return image_label if text_label == "neutral" else None


def read_mvsa_single(root: Path) -> Corpus:
    """Read ``labelResultAll.txt`` and ``data/<id>.txt`` below `root`, in the file's order.

    Posts whose text and image contradict each other go to ``removed["contradictory"]``. A post's
    image is ``data/<id>.jpg``, or has another suffix of `IMAGE_SUFFIXES`. Images
    are not checked: a missing one is detected on opening. The dataset may also be in a subfolder
    of `root`, as unpacked from its archive. A warning counts texts with undecodable bytes.

    Raises:
        DataError: `root` is not the dataset, rows are malformed, or texts are missing; names the
            first of them and counts all.
    """
    return _read(root, "MVSA-Single", annotators=1, agree=lambda annotations: annotations[0])


def read_mvsa_multiple(root: Path) -> Corpus:
    """Read MVSA-Multiple, laid out as MVSA-Single with three annotations in each row.

    Text and image each get the majority label of the three annotators; posts without one go to
    ``removed["without a majority"]``, and contradictory majorities to
    ``removed["contradictory"]``.

    Raises:
        DataError: `root` is not the dataset, a row is malformed, or a text is missing.

    Source:
        Xu & Mao, CIKM 2017 (MultiSentiNet), for both rules.
    """
    return _read(root, "MVSA-Multiple", annotators=ANNOTATORS, agree=_majorities)


def _read(
    root: Path,
    name: str,
    annotators: int,
    agree: Callable[[list[Annotation]], Annotation | None],
) -> Corpus:
    root = find_place(root, lambda folder: (folder / LABEL_FILE).is_file(), name)
    removed: dict[str, tuple[str, ...]] = {}
    labelled: dict[str, tuple[str, str, str]] = {}
    for post_id, annotations in _read_rows(root / LABEL_FILE, name, annotators):
        labels = agree(annotations)
        label = labels and merge_labels(*labels)
        if labels is None or label is None:
            reason = NO_MAJORITY if labels is None else CONTRADICTORY
            removed[reason] = (*removed.get(reason, ()), post_id)
        else:
            labelled[post_id] = (label, *labels)
    posts, encodings = _read_posts(labelled, _data_folder(root))
    return Corpus(posts, POLARITIES, removed, encodings)


def _read_posts(
    labelled: Mapping[str, tuple[str, str, str]], folder: Path
) -> tuple[list[Post], dict[str, tuple[str, ...]]]:
    """Return the posts with their three labels, and encoding other than UTF-8 -> ids."""
    texts, images = files_by_id(folder, TEXT_SUFFIXES, IMAGE_SUFFIXES)
    posts: list[Post] = []
    encoded: dict[str, list[str]] = {}
    undecodable: list[Path] = []
    errors = RowErrors(str(folder.parent / LABEL_FILE))
    for post_id, labels in labelled.items():
        path = texts.get(post_id, folder / f"{post_id}.txt")
        with errors.collect():
            text, encoding = _read_text(path)
            undecodable += [path] if REPLACEMENT in text else []
            if encoding != UTF_8:
                encoded.setdefault(encoding, []).append(post_id)
            image = images.get(post_id, folder / f"{post_id}.jpg")
            posts.append(Post(post_id, text, image, *labels))
    errors.require_none()
    if undecodable:
        LOG.warning(
            "%s: %s undecodable bytes, which are replaced by U+FFFD, such as %s.",
            *(folder, count_of(len(undecodable), "text has", "texts have"), undecodable[0]),
        )
    return posts, {name: tuple(ids) for name, ids in encoded.items()}


def _data_folder(root: Path) -> Path:
    """Return the folder of the texts and images, with a name in any case."""
    names = sorted(name for name in names_in(root) if name.lower() == FOLDER)
    return root / (FOLDER if FOLDER in names or not names else names[0])


def _majorities(annotations: list[Annotation]) -> Annotation | None:
    """Return the majority text label and image label, if both exist."""
    votes = [Counter(labels).most_common(1)[0] for labels in zip(*annotations, strict=True)]
    if any(count <= len(annotations) / 2 for _, count in votes):
        return None
    (text, _), (image, _) = votes
    return text, image


def _read_rows(path: Path, name: str, annotators: int) -> list[tuple[str, list[Annotation]]]:
    """Return post id and annotations of each row."""
    header, *lines = _read_label_file(path, name).split("\n")
    expected = "\t".join(["ID", *[COLUMNS] * annotators])
    if header.strip() != expected:
        raise DataError(
            f"{path} begins with {header[:80]!r} instead of {expected!r}: use the {name} folder as "
            "it was published."
        )
    rows: list[tuple[str, list[Annotation]]] = []
    line_of: dict[str, int] = {}
    errors = RowErrors(str(path))
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        with errors.collect():
            post_id, annotations = _parse_row(line, f"{path}, line {number}", annotators)
            if post_id in line_of:
                raise DataError(
                    f"{path}, line {number}: post {post_id} is already on line "
                    f"{line_of[post_id]}: delete one of the two."
                )
            line_of[post_id] = number
            rows.append((post_id, annotations))
    errors.require_none()
    if not rows:
        raise DataError(f"{path} has no posts below its header: download it again.")
    return rows


def _read_label_file(path: Path, name: str) -> str:
    try:
        if not path.is_file():
            raise FileNotFoundError
        return _decode(path.read_bytes())[0]
    except (OSError, ValueError) as error:
        require_allowed(path, DataError)
        raise DataError(
            f"{path} cannot be read: use the {name} folder, which holds {LABEL_FILE} and data/."
        ) from error


def _parse_row(line: str, where: str, annotators: int) -> tuple[str, list[Annotation]]:
    post_id, *columns = line.strip().split("\t")
    annotations = [[label.strip().lower() for label in column.split(",")] for column in columns]
    is_number = post_id.isascii() and post_id.isdecimal()
    if not is_number or [len(labels) for labels in annotations] != [2] * annotators:
        example = "<tab>".join(["12", *["positive,neutral"] * annotators])
        raise DataError(
            f"{where}: {line.strip()[:80]!r} must be a post's number and "
            f"{count_of(annotators, 'pair')} of labels, as in '{example}'."
        )
    for label in (label for labels in annotations for label in labels):
        if label not in POLARITIES:
            raise DataError(f"{where}: label {label!r} must be one of {', '.join(POLARITIES)}.")
    return post_id, [(text, image) for text, image in annotations]


def _read_text(path: Path) -> tuple[str, str]:
    try:
        if not path.is_file():
            raise FileNotFoundError
        text, encoding = _decode(path.read_bytes())
    except OSError as error:
        require_allowed(path, DataError, "Text")
        raise DataError(
            f"Text {path} cannot be read: put it back, or delete its row in {LABEL_FILE}."
        ) from error
    return text.strip(), encoding


def _decode(content: bytes) -> tuple[str, str]:
    """Return text and encoding: UTF-8 where that is valid, else GB18030 as for a quarter of them.

    A text with the byte-order mark of UTF-16 is decoded as UTF-16.

    Latin-1 would silently garble quotes and ellipses. All published texts decode without loss; a
    byte that is invalid in both encodings becomes a replacement character, since
    one wrong character does not make a post useless.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode(UTF_16, errors="replace"), UTF_16
    try:
        return content.decode("utf-8-sig"), UTF_8
    except UnicodeDecodeError:
        return content.decode(OTHER_ENCODING, errors="replace"), OTHER_ENCODING
