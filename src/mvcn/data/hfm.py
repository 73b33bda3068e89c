"""HFM (Cai et al., ACL 2019): tweets with an image, sarcastic or not."""

import ast
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mvcn.errors import DataError, reason_of
from mvcn.files import require_allowed
from mvcn.types import Corpus, Post

CLASS_NAMES = ("not sarcastic", "sarcastic")
FILES = {"train": "train.txt", "dev": "valid2.txt", "test": "test2.txt"}
ATTRIBUTES = Path("extract") / "extract_all"
FILTERED_WORDS = {
    *("exgag", "sarcasm", "sarcastic", "irony", "ironic", "reposting"),
    *("joke", "jokes", "humour", "humor", "<url>"),
}
"""A post with one of them is left out, as the authors do: most of them tell the label."""
FILTERED = "with a filtered word"
LABELS_OF_LENGTH = {3: 1, 4: 2}
"""Elements of a line -> how many of them are labels; of two, the last is the human one."""
MAX_LINE_CHARACTERS = 100_000


def read_hfm(
    root: Path, *, splits: Collection[str] | None = None, images: Path | None = None
) -> Corpus:
    """Read ``text/train.txt``, ``valid2.txt`` (dev) and ``test2.txt`` below `root`.

    The last element of a line is the label; posts with one of the authors' filtered words go to
    ``removed``. Texts keep all their blanks. Attributes come from ``extract/extract_all``, where
    it is there. A post has an image if `images`, or else ``image/`` below `root`, holds its
    ``<id>.jpg``.

    Args:
        root: Folder of HFM as published.
        splits: Which of ``train``, ``dev``, ``test`` to read; by default those that are there.
        images: Folder of the images.

    Raises:
        DataError: `root` is not HFM, a wanted file lacks, or a line is malformed.
    """
    attributes = _read_attributes(root / ATTRIBUTES)
    with_image = _image_ids(images, root / "image")
    posts: dict[str, Post] = {}
    filtered: list[str] = []
    for split in _present(root, splits):
        for where, (post_id, text, label) in _read_lines(root / "text" / FILES[split]):
            if post_id in posts:
                raise DataError(f"{where}: post {post_id} was given before: delete one of them.")
            if FILTERED_WORDS.intersection(text.split()):
                filtered.append(post_id)
                continue
            posts[post_id] = Post(
                post_id,
                text,
                with_image.get(post_id),
                CLASS_NAMES[label],
                attributes=attributes.get(post_id, ()),
                split=split,
            )
    if not posts:
        raise DataError(f"{root / 'text'} holds no posts: give the folder of HFM as published.")
    return Corpus(list(posts.values()), CLASS_NAMES, {FILTERED: tuple(filtered)})


def _present(root: Path, splits: Collection[str] | None) -> list[str]:
    """Return the parts to read, in the order train, dev, test."""
    if splits is not None:
        return [split for split in FILES if split in splits]
    found = [split for split, name in FILES.items() if (root / "text" / name).is_file()]
    if not found:
        raise DataError(
            f"{root / 'text'} has none of {', '.join(FILES.values())}: give the folder of HFM."
        )
    return found


def _read_lines(path: Path) -> Iterator[tuple[str, tuple[str, str, int]]]:
    """Yield the place, and id, text and label, of each line."""
    for where, elements in _read_literals(path):
        *others, label = elements
        if (
            len(elements) not in LABELS_OF_LENGTH
            or not all(isinstance(other, str) for other in others[:2])
            or any(type(one) is not int for one in elements[2:])
            or label not in (0, 1)
        ):
            raise DataError(f"{where} must be a list of id, text and labels that are 0 or 1.")
        yield where, (_checked_id(others[0], where), others[1], label)


def _read_attributes(path: Path) -> Mapping[str, tuple[str, ...]]:
    if not path.exists():
        return {}
    attributes = {}
    for where, elements in _read_literals(path):
        if not elements or not all(isinstance(element, str) for element in elements):
            raise DataError(f"{where} must be a list of an id and words.")
        attributes[elements[0]] = tuple(elements[1:])
    return attributes


def _read_literals(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Yield the place and the list of each line; nothing in the file is ever executed."""
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield where, _parse(line.strip(), where)


def _parse(line: str, where: str) -> list[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash in a post is no mistake of ours
            elements = ast.literal_eval(line[:MAX_LINE_CHARACTERS])
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise DataError(
            f"{where}: {line[:60]!r} is not a Python list, such as ['12', 'text', 1]: restore it."
        ) from error
    if not isinstance(elements, list):
        raise DataError(f"{where}: {line[:60]!r} is not a Python list: restore it.")
    return elements


def _checked_id(post_id: str, where: str) -> str:
    if not (post_id.isascii() and post_id.isalnum()):
        raise DataError(f"{where}: id {post_id[:40]!r} must be letters and digits.")
    return post_id


def _image_ids(images: Path | None, usual: Path) -> dict[str, Path]:
    """Return id -> image of all that are there; only a folder that was asked for must be there."""
    folder = usual if images is None else images
    if folder.is_dir():
        return {path.stem: path for path in folder.glob("*.jpg")}
    if images is None:
        return {}
    raise DataError(f"There is no folder of images {images}: correct --images.")


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():
            raise FileNotFoundError(None, "it is not a file")
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        require_allowed(path, DataError)
        raise DataError(
            f"{path} cannot be read as UTF-8 text ({reason_of(error)}): "
            "give the folder of HFM as published."
        ) from error
