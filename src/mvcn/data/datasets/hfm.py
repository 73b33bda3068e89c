"""HFM (Cai et al., ACL 2019): tweets with an image, sarcastic or not."""

import ast
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mvcn.data.image_files import IMAGE_SUFFIXES, files_by_id, find_place, holds_images, names_in
from mvcn.data.row_errors import RowErrors
from mvcn.data.split_names import SPLITS, left_out, line_ids, log_empty_splits, split_files
from mvcn.errors import DataError, reason_of
from mvcn.files import require_allowed
from mvcn.types import Corpus, Post

CLASS_NAMES = ("not sarcastic", "sarcastic")
FILES = {"train": "train.txt", "dev": "valid2.txt", "test": "test2.txt"}
IMAGE_FOLDERS = ("image", "dataset_image")
"""Usual name, and the one in the published archive of images."""
ATTRIBUTES = Path("extract") / "extract_all"
FILTERED_WORDS = {
    *("exgag", "sarcasm", "sarcastic", "irony", "ironic", "reposting"),
    *("joke", "jokes", "humour", "humor", "<url>"),
}
"""Posts with one of them are left out, as by the authors: most reveal the label."""
FILTERED = "with a filtered word"
LENGTHS = (3, 4)
"""Number of elements of a line: id, text and one or two labels, the last by annotators."""
MAX_LINE_CHARACTERS = 100_000


def read_hfm(
    root: Path, *, splits: Collection[str] | None = None, images: Path | None = None
) -> Corpus:
    """Read ``text/train.txt``, ``valid2.txt`` (dev) and ``test2.txt`` below `root`.

    If one of them is missing, a file whose name `split_of` recognises is read; other ``.txt``
    files are left out. The last element of a line is the label; posts with one of the authors'
    filtered words go to ``removed``. Whitespace in texts is kept. Attributes come from
    ``extract/extract_all``, if it exists. A post has an image if `images`, or else ``image/``
    or ``dataset_image/`` below `root`, holds its ``<id>.jpg``, or has it with another suffix of
    `IMAGE_SUFFIXES`; the others go to `missing_images`.

    Args:
        root: Folder of HFM as published, or one that holds it in a subfolder.
        splits: Which of ``train``, ``dev``, ``test`` to read; by default all. Posts of the others
            are counted.
        images: Folder of the images, or one that holds them in a subfolder.

    Raises:
        DataError: `root` is not HFM, a requested file is missing, or a line is malformed.
    """
    root = find_place(root, _is_hfm, "HFM")
    folder = root / "text"
    require_allowed(folder, DataError)
    attributes = _read_attributes(root / ATTRIBUTES)
    (with_image,) = files_by_id(_image_folder(root, images), IMAGE_SUFFIXES)
    files, unknown = _files(folder)
    requested = _requested(files, folder, splits)
    others = {
        split: sum(len(line_ids(path)) for path in paths)
        for split, paths in files.items()
        if split not in requested
    }
    posts, filtered = _read_splits(folder, requested, with_image, attributes)
    if not posts:
        raise DataError(f"{folder} holds no posts: use the HFM folder as it was published.")
    counts = Counter(post.split for post in (*posts, *filtered))
    log_empty_splits({split: counts[split] for split in requested} | others, str(folder))
    removed = {FILTERED: tuple(post.id for post in filtered)} if filtered else {}
    return Corpus(
        posts,
        CLASS_NAMES,
        removed | left_out(str(folder), {path.name: line_ids(path) for path in unknown}),
        missing_images=tuple(post.id for post in posts if post.image is None),
        other_splits=others,
    )


def _is_hfm(folder: Path) -> bool:
    return any(name.endswith(".txt") for name in names_in(folder / "text"))


def _files(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return split -> its files, in the order train, dev, test, and other files."""
    files, others = split_files(folder, ".txt")
    for split, name in FILES.items():
        if folder / name in others:
            if split in files:
                raise DataError(
                    f"{folder} has both {name} and {files[split][0].name}, which mean the same "
                    f"split, {split}: remove one of them."
                )
            others.remove(folder / name)
            files[split] = [folder / name]
    return {split: files[split] for split in SPLITS if split in files}, others


def _requested(
    files: Mapping[str, list[Path]], folder: Path, splits: Collection[str] | None
) -> dict[str, list[Path]]:
    """Return the splits to read with their files."""
    if splits is not None:
        names = [split for split in SPLITS if split in splits]
        return {split: files.get(split, [folder / FILES[split]]) for split in names}
    if not files:
        raise DataError(
            f"{folder} has none of {', '.join(FILES.values())}: use the HFM folder as it was "
            "published."
        )
    return dict(files)


def _read_splits(
    folder: Path,
    requested: Mapping[str, list[Path]],
    images: Mapping[str, Path],
    attributes: Mapping[str, tuple[str, ...]],
) -> tuple[list[Post], list[Post]]:
    """Return the posts of some splits, and those with a filtered word."""
    posts: dict[str, Post] = {}
    filtered: list[Post] = []
    errors = RowErrors(str(folder))
    lines = (
        (split, *line)
        for split, paths in requested.items()
        for path in paths
        for line in _read_lines(path)
    )
    for split, where, line in lines:
        with errors.collect():
            post_id, text, label = _parse_post(_parse(line, where), where)
            if post_id in posts:
                raise DataError(
                    f"{where}: post {post_id} has already appeared: delete one of the two."
                )
            image, words = images.get(post_id), attributes.get(post_id, ())
            post = Post(post_id, text, image, CLASS_NAMES[label], attributes=words, split=split)
            if FILTERED_WORDS.intersection(text.split()):
                filtered.append(post)
            else:
                posts[post_id] = post
    errors.require_none()
    return list(posts.values()), filtered


def _parse_post(elements: list[Any], where: str) -> tuple[str, str, int]:
    *others, label = elements
    if (
        len(elements) not in LENGTHS
        or not all(isinstance(other, str) for other in others[:2])
        or any(type(one) is not int for one in elements[2:])
        or label not in (0, 1)
    ):
        raise DataError(
            f"{where} must be a list of an id, a text and labels of 0 or 1, such as ['12', "
            "'text', 1]."
        )
    post_id, text = others[:2]
    if not (post_id.isascii() and post_id.isalnum()):
        raise DataError(f"{where}: id {post_id[:40]!r} may contain only letters and digits.")
    return post_id, text, label


def _read_attributes(path: Path) -> Mapping[str, tuple[str, ...]]:
    if not path.exists():
        return {}
    attributes = {}
    errors = RowErrors(str(path))
    for where, line in _read_lines(path):
        with errors.collect():
            elements = _parse(line, where)
            if not elements or not all(isinstance(element, str) for element in elements):
                raise DataError(
                    f"{where} must be a list of an id and words, such as ['12', 'cat', 'sofa']."
                )
            attributes[elements[0]] = tuple(elements[1:])
    errors.require_none()
    return attributes


def _read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the location and the content of each line that is not blank."""
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _parse(line: str, where: str) -> list[Any]:
    """Return the list of a line; nothing in it is executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes in posts
            elements = ast.literal_eval(line[:MAX_LINE_CHARACTERS])
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise DataError(
            f"{where}: {line[:60]!r} is not a Python list such as ['12', 'text', 1]: download the "
            "file again."
        ) from error
    if not isinstance(elements, list):
        raise DataError(f"{where}: {line[:60]!r} is not a Python list: download the file again.")
    return elements


def _image_folder(root: Path, images: Path | None) -> Path:
    """Return the folder of the images; only a given one must exist."""
    if images is not None and not images.is_dir():
        raise DataError(f"The image folder {images} does not exist: check --images.")
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
            f"{path} cannot be read as UTF-8 text ({reason_of(error)}): use the HFM folder as it "
            "was published."
        ) from error
