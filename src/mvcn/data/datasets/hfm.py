"""HFM (Cai et al., ACL 2019): tweets with an image, sarcastic or not."""

import ast
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mvcn.data.image_files import IMAGE_SUFFIXES, files_by_id, find_place, holds_images, names_in
from mvcn.data.parts import PARTS, left_out, log_parts_without_posts, part_files
from mvcn.errors import DataError, reason_of
from mvcn.files import require_allowed
from mvcn.types import Corpus, Post

CLASS_NAMES = ("not sarcastic", "sarcastic")
FILES = {"train": "train.txt", "dev": "valid2.txt", "test": "test2.txt"}
IMAGE_FOLDERS = ("image", "dataset_image")
"""Ours, and the one that the published archive of the images unpacks to."""
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

    Where one of them is missing, the part is the file whose name `part_of` knows; other ``.txt``
    files are left out. The last element of a line is the label; posts with one of the authors'
    filtered words go to ``removed``. Texts keep all their blanks. Attributes come from
    ``extract/extract_all``, where it is there. A post has an image if `images`, or else ``image/``
    or ``dataset_image/`` below `root`, holds its ``<id>.jpg``, or has it with another suffix of
    `IMAGE_SUFFIXES`; the others go to `missing_images`.

    Args:
        root: Folder of HFM as published, or one that holds it in a folder of its own.
        splits: Which of ``train``, ``dev``, ``test`` to read; by default those that are there.
            Of the others, the lines are counted.
        images: Folder of the images, or one that holds them in a folder of their own.

    Raises:
        DataError: `root` is not HFM, a wanted file is missing, or a line is malformed.
    """
    root = find_place(root, _is_hfm, "HFM")
    require_allowed(root / "text", DataError)
    attributes = _read_attributes(root / ATTRIBUTES)
    (with_image,) = files_by_id(_image_folder(root, images), IMAGE_SUFFIXES)
    posts: dict[str, Post] = {}
    filtered: list[str] = []
    files, unknown = _files(root / "text")
    wanted = _wanted(files, root, splits)
    counts = dict.fromkeys(wanted, 0)
    for split, where, (post_id, text, label) in _read_parts(wanted):
        counts[split] += 1
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
    removed = left_out(str(root / "text"), {path.name: _line_ids(path) for path in unknown})
    others = _sizes({part: paths for part, paths in files.items() if part not in wanted})
    log_parts_without_posts(counts | others, str(root / "text"))
    return Corpus(
        list(posts.values()),
        CLASS_NAMES,
        {**({FILTERED: tuple(filtered)} if filtered else {}), **removed},
        missing_images=tuple(post_id for post_id in posts if post_id not in with_image),
        other_parts=others,
    )


def _is_hfm(folder: Path) -> bool:
    return any(name.endswith(".txt") for name in names_in(folder / "text"))


def _files(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return part -> its files, in the order train, dev, test, and other files."""
    files, others = part_files(folder, ".txt")
    for part, name in FILES.items():
        if folder / name in others:
            if part in files:
                raise DataError(
                    f"{folder} has {name} and {files[part][0].name}, which both mean {part}: "
                    "remove one of them."
                )
            others.remove(folder / name)
            files[part] = [folder / name]
    return {part: files[part] for part in PARTS if part in files}, others


def _wanted(
    files: Mapping[str, list[Path]], root: Path, splits: Collection[str] | None
) -> dict[str, list[Path]]:
    """Return the parts to read with their files."""
    if splits is not None:
        return {
            part: files.get(part, [root / "text" / FILES[part]]) for part in PARTS if part in splits
        }
    if not files:
        raise DataError(
            f"{root / 'text'} has none of {', '.join(FILES.values())}: give the folder of HFM."
        )
    return dict(files)


def _sizes(files: Mapping[str, list[Path]]) -> dict[str, int]:
    return {part: sum(len(_line_ids(path)) for path in paths) for part, paths in files.items()}


def _line_ids(path: Path) -> list[str]:
    """Return a name for each post of a file that is not read."""
    with path.open("rb") as file:
        count = sum(bool(line.strip()) for line in file)
    return [f"{path.stem}-{number}" for number in range(1, 1 + count)]


def _read_parts(
    wanted: Mapping[str, list[Path]],
) -> Iterator[tuple[str, str, tuple[str, str, int]]]:
    """Yield the part, the place, and id, text and label, of each line."""
    for split, paths in wanted.items():
        for path in paths:
            for where, line in _read_lines(path):
                yield split, where, line


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


def _image_folder(root: Path, images: Path | None) -> Path:
    """Return the folder of the images; only one that was asked for must be there."""
    if images is not None and not images.is_dir():
        raise DataError(f"There is no folder of images {images}: correct --images.")
    usual = [root / name for name in IMAGE_FOLDERS] if images is None else [images]
    places = [find_place(folder, holds_images, "images") for folder in usual]
    return next(filter(holds_images, places), usual[0])


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
