"""Posts in JSON lines as MMBT (Kiela et al., 2019) has them, and QMF and PDF after it."""

from collections.abc import Collection
from pathlib import Path

from mvcn.data.merge_rule import POLARITIES
from mvcn.data.rows import TableOptions
from mvcn.data.table import read_table
from mvcn.errors import DataError
from mvcn.types import Corpus, Post

SPLITS = ("train", "dev", "test")
COLUMNS = {"image": "img"}


def read_qmf(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` below `root`.

    Each line has ``id``, ``label``, ``text`` and ``img``, a path relative to `images` or else to
    `root`. QMF's own files for MVSA-Single hold only the posts whose text label equals the image
    label: an easier task, whose scores compare with no others.

    Args:
        root: Folder of the files.
        splits: Which of them to return posts of; by default all that are there.
        images: Folder that image paths are relative to.
        options: How rows are read.

    Raises:
        DataError: A file lacks, or a line is malformed.
    """
    there = [split for split in SPLITS if (root / f"{split}.jsonl").is_file()]
    lacking = [split for split in SPLITS if split in (splits or ()) and split not in there]
    if lacking or not there:
        files = ", ".join(f"{split}.jsonl" for split in lacking or SPLITS)
        raise DataError(f"{root} has no {files}: give the folder of a split in JSON lines.")
    parts = {
        split: read_table(
            root / f"{split}.jsonl", columns=COLUMNS, images=images or root, options=options
        )
        for split in there
    }
    posts: dict[str, Post] = {}
    for split, corpus in parts.items():
        for post in corpus.posts:
            if post.id in posts:
                raise DataError(
                    f"{root}: id {post.id!r} is in {posts[post.id].split}.jsonl and in "
                    f"{split}.jsonl: delete one of them."
                )
            posts[post.id] = _put_into(post, split)
    wanted = [post for post in posts.values() if splits is None or post.split in splits]
    return Corpus(wanted, _class_names(list(parts.values())))


def _put_into(post: Post, split: str) -> Post:
    return Post(post.id, post.text, post.image, post.label, split=split)


def _class_names(parts: list[Corpus]) -> tuple[str, ...]:
    names = dict.fromkeys(name for part in parts for name in part.class_names)
    return POLARITIES if set(names) <= set(POLARITIES) else tuple(sorted(names))
