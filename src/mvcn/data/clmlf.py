"""Posts in the JSON lists that CLMLF (Li et al., NAACL Findings 2022) published its splits in."""

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from mvcn.data.files_by_id import IMAGE_SUFFIXES, files_by_id, find_place, holds_images
from mvcn.data.hfm import CLASS_NAMES as SARCASM
from mvcn.data.image_cells import ImageFolder
from mvcn.data.merge_rule import POLARITIES
from mvcn.data.rows import read_bytes
from mvcn.errors import DataError
from mvcn.types import Corpus, Post

SPLITS = ("train", "dev", "test")
USUAL_IMAGES = "dataset_image"


def read_clmlf(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    images: Path | None = None,
    text_only: bool = False,
) -> Corpus:
    """Read ``train.json``, ``dev.json`` and ``test.json`` below `root`.

    Each is a list of objects with ``id``, ``text`` and ``emotion_label``: 0, 1, 2 for positive,
    neutral, negative (MVSA) where any of the files has a 2, else 0 and 1 for not sarcastic and
    sarcastic (HFM). A post's image is ``<id>.jpg``, or has another suffix of `IMAGE_SUFFIXES`.

    Args:
        root: Folder of the lists.
        splits: Which of them to return posts of; by default all that are there.
        images: Folder of the images, or one that holds them in a folder of their own; else
            ``dataset_image`` below `root`.
        text_only: There need be no folder of images.

    Raises:
        DataError: A list or the folder of images lacks, or an entry is malformed.
    """
    there = [split for split in SPLITS if (root / f"{split}.json").is_file()]
    lacking = [split for split in SPLITS if split in (splits or ()) and split not in there]
    if lacking or not there:
        lists = ", ".join(f"{split}.json" for split in lacking or SPLITS)
        raise DataError(f"{root} has no {lists}: give the folder of a CLMLF split.")
    entries = {split: list(_entries(root / f"{split}.json")) for split in there}
    names = _class_names(label for part in entries.values() for *_, label in part)
    folder = _image_folder(root, images, text_only)
    (by_id,), others = files_by_id(folder, IMAGE_SUFFIXES), ImageFolder(folder)
    posts: dict[str, Post] = {}
    for split, part in entries.items():
        for where, post_id, text, label in part:
            if post_id in posts:
                raise DataError(f"{where}: id {post_id!r} was given before: delete one of them.")
            image = by_id.get(post_id) or others.path(f"{post_id}.jpg", where)
            posts[post_id] = Post(post_id, text, image, names[label], split=split)
    wanted = [post for post in posts.values() if splits is None or post.split in splits]
    return Corpus(wanted, names)


def _class_names(labels: Iterable[int]) -> tuple[str, ...]:
    return POLARITIES if len(POLARITIES) - 1 in set(labels) else SARCASM


def _image_folder(root: Path, images: Path | None, text_only: bool) -> Path:
    folder = root / USUAL_IMAGES if images is None else images
    if not folder.is_dir() and not text_only:
        raise DataError(
            f"There is no folder of images {folder}: name it by --images, or go on with the texts "
            "alone by --text-only."
        )
    return find_place(folder, holds_images, "images")


def _entries(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """Yield place, id, text and label of each entry."""
    content = _parse(path)
    if not isinstance(content, list) or not content:
        raise DataError(f"{path} is not a list of posts: give a JSON list as CLMLF has it.")
    for number, entry in enumerate(content, start=1):
        where = f"{path}, entry {number}"
        if not isinstance(entry, dict) or not {"id", "text", "emotion_label"} <= set(entry):
            raise DataError(f"{where} must have the keys id, text and emotion_label.")
        post_id, text, label = str(entry["id"]).strip(), entry["text"], entry["emotion_label"]
        if not post_id or not isinstance(text, str):
            raise DataError(f"{where}: the id must not be empty, and the text must be text.")
        if type(label) is not int or not 0 <= label < len(POLARITIES):
            raise DataError(f"{where}: emotion_label is {label!r}, but must be 0, 1 or 2.")
        yield where, post_id, text, label


def _parse(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path, "JSON").decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path} is not valid JSON ({reason}): restore it.") from error
