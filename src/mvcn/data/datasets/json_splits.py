"""Splits in JSON: lists as CLMLF published them, and JSON lines as MMBT, QMF and PDF have them."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mvcn.data.datasets.hfm import CLASS_NAMES as SARCASM
from mvcn.data.datasets.mvsa import POLARITIES
from mvcn.data.formats.rows import TableOptions, read_bytes
from mvcn.data.image_files import IMAGE_SUFFIXES, ImageFolder, files_by_id, find_place, holds_images
from mvcn.data.row_errors import RowErrors
from mvcn.data.split_names import (
    keep_splits,
    left_out,
    line_ids,
    log_empty_splits,
    require_split_files,
)
from mvcn.data.table import read_table
from mvcn.errors import DataError, reason_of
from mvcn.types import Corpus, Post

Item = TypeVar("Item")

USUAL_IMAGES = "dataset_image"
COLUMNS = {"image": "img"}


def read_clmlf(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    images: Path | None = None,
    text_only: bool = False,
) -> Corpus:
    """Read ``train.json``, ``dev.json`` and ``test.json`` below `root`.

    Files may have any names that `split_of` recognises; other lists are left out. Each is a list
    of objects with ``id``, ``text`` and ``emotion_label``: 0, 1, 2 for positive, neutral, negative
    (MVSA) where any of the files has a 2, else 0 and 1 for not sarcastic and sarcastic (HFM). A
    post's image is ``<id>.jpg``, or has another suffix of `IMAGE_SUFFIXES`.

    Args:
        root: Folder of the lists.
        splits: Which splits to return; by default all.
        images: Folder of the images, or one with them in a subfolder; by default
            ``dataset_image`` below `root`.
        text_only: Do not require a folder of images.

    Raises:
        DataError: A list or the folder of images is missing, or an entry is malformed.
    """
    files, others = require_split_files(root, ".json", splits, "a CLMLF split")
    removed = left_out(str(root), {p.name: ids for p in others if (ids := _entry_ids(p))})
    entries = {
        split: [entry for path in paths for entry in _read_entries(path)]
        for split, paths in files.items()
    }
    log_empty_splits({split: len(found) for split, found in entries.items()}, str(root))
    has_polarities = any(label > 1 for found in entries.values() for *_, label in found)
    names = POLARITIES if has_polarities else SARCASM
    folder = _image_folder(root, images, text_only)
    (by_id,), by_path = files_by_id(folder, IMAGE_SUFFIXES), ImageFolder(folder)
    posts: dict[str, Post] = {}
    errors = RowErrors(str(root))
    for split, (where, post_id, text, label) in _pairs(entries):
        with errors.collect():
            if post_id in posts:
                raise DataError(
                    f"{where}: id {post_id!r} has already appeared: delete one of the two."
                )
            image = by_id.get(post_id) or by_path.path(f"{post_id}.jpg", where)
            posts[post_id] = Post(post_id, text, image, names[label], split=split)
    errors.require_none()
    return keep_splits(Corpus(list(posts.values()), names, removed), splits, str(root))


def _pairs(of_splits: Mapping[str, Sequence[Item]]) -> Iterator[tuple[str, Item]]:
    """Yield each item with the name of its split."""
    for split, items in of_splits.items():
        for item in items:
            yield split, item


def _entry_ids(path: Path) -> list[str]:
    """Return a name for each post of a list that is left out; none for other JSON."""
    try:
        content = _parse(path)
    except DataError:
        return []
    count = len(content) if isinstance(content, list) else 0
    return [f"{path.stem}-{number}" for number in range(1, 1 + count)]


def _image_folder(root: Path, images: Path | None, text_only: bool) -> Path:
    folder = root / USUAL_IMAGES if images is None else images
    if not folder.is_dir() and not text_only:
        raise DataError(
            f"The image folder {folder} does not exist: pass the right one with --images FOLDER, "
            "or use only the texts with --text-only."
        )
    return find_place(folder, holds_images, "images")


def _read_entries(path: Path) -> list[tuple[str, str, str, int]]:
    """Return location, id, text and label of each entry."""
    content = _parse(path)
    if not isinstance(content, list) or not content:
        raise DataError(f"{path} is not a JSON list of posts: use the file as CLMLF published it.")
    entries: list[tuple[str, str, str, int]] = []
    errors = RowErrors(str(path))
    for number, entry in enumerate(content, start=1):
        with errors.collect():
            entries.append(_parse_entry(entry, f"{path}, entry {number}"))
    errors.require_none()
    return entries


def _parse_entry(entry: Any, where: str) -> tuple[str, str, str, int]:
    if not isinstance(entry, dict) or not {"id", "text", "emotion_label"} <= set(entry):
        raise DataError(f"{where} must have the keys id, text and emotion_label.")
    post_id, text, label = str(entry["id"]).strip(), entry["text"], entry["emotion_label"]
    if type(entry["id"]) not in (str, int) or not post_id:
        raise DataError(
            f"{where}: id is {entry['id']!r:.80}, but must be a text or a whole number."
        )
    if not isinstance(text, str):
        raise DataError(f"{where}: text is {text!r:.80}, but must be text.")
    if type(label) is not int or not 0 <= label < len(POLARITIES):
        raise DataError(f"{where}: emotion_label is {label!r}, but must be 0, 1 or 2.")
    return where, post_id, text, label


def _parse(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path, "JSON").decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not valid JSON ({reason_of(error)}): download it again."
        ) from error


def read_qmf(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` below `root`.

    Files may have any names that `split_of` recognises, such as ``dev_seen.jsonl``; other JSON
    lines are left out. Each line has ``id``, ``label``, ``text`` and ``img``, a path relative to
    `images` or else to `root`. The files of QMF for MVSA-Single contain only posts whose text label
    equals the image label: an easier task, with scores that are not comparable.

    Args:
        root: Folder of the files.
        splits: Which splits to return; by default all.
        images: Folder that image paths are relative to.
        options: How rows are read.

    Raises:
        DataError: A file is missing, or a line is malformed.
    """
    files, others = require_split_files(root, ".jsonl", splits, "a split in JSON lines")
    removed = left_out(str(root), {path.name: line_ids(path) for path in others})
    posts: list[Post] = []
    file_of: dict[str, str] = {}
    classes: set[str] = set()
    errors = RowErrors(str(root))
    for split, path in _pairs(files):
        corpus = read_table(path, columns=COLUMNS, images=images or root, options=options)
        classes |= set(corpus.class_names)
        for post in corpus.posts:
            with errors.collect():
                if (other := file_of.setdefault(post.id, path.name)) != path.name:
                    raise DataError(
                        f"{root}: id {post.id!r} is in both {other} and {path.name}: delete one "
                        "of the two."
                    )
                posts.append(Post(post.id, post.text, post.image, post.label, split=split))
    errors.require_none()
    names = POLARITIES if classes <= set(POLARITIES) else tuple(sorted(classes))
    return keep_splits(Corpus(posts, names, removed, columns=corpus.columns), splits, str(root))
