"""Posts in JSON lines as MMBT (Kiela et al., 2019) has them, and QMF and PDF after it."""

from collections.abc import Collection
from pathlib import Path

from mvcn.data.datasets.mvsa import POLARITIES
from mvcn.data.formats.rows import TableOptions
from mvcn.data.split_names import keep_splits, left_out, line_ids, require_split_files
from mvcn.data.table import read_table
from mvcn.errors import DataError
from mvcn.types import Corpus, Post

COLUMNS = {"image": "img"}


def read_qmf(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` below `root`.

    Files can be called by any name that `split_of` knows, such as ``dev_seen.jsonl``; other JSON
    lines are left out. Each line has ``id``, ``label``, ``text`` and ``img``, a path relative to
    `images` or else to `root`. QMF's own files for MVSA-Single hold only the posts whose text label
    equals the image label: an easier task, whose scores compare with no others.

    Args:
        root: Folder of the files.
        splits: Which of them to return posts of; by default all that are there.
        images: Folder that image paths are relative to.
        options: How rows are read.

    Raises:
        DataError: A file is missing, or a line is malformed.
    """
    files, others = require_split_files(root, ".jsonl", splits, "a split in JSON lines")
    removed = left_out(str(root), {path.name: line_ids(path) for path in others})
    posts: dict[str, Post] = {}
    file_of: dict[str, str] = {}
    classes: set[str] = set()
    for split, path in ((split, path) for split, paths in files.items() for path in paths):
        corpus = read_table(path, columns=COLUMNS, images=images or root, options=options)
        classes |= set(corpus.class_names)
        for post in corpus.posts:
            if post.id in posts:
                raise DataError(
                    f"{root}: id {post.id!r} is in {file_of[post.id]} and in {path.name}: "
                    "delete one of them."
                )
            posts[post.id] = Post(post.id, post.text, post.image, post.label, split=split)
            file_of[post.id] = path.name
    names = POLARITIES if classes <= set(POLARITIES) else tuple(sorted(classes))
    found = Corpus(list(posts.values()), names, removed, columns=corpus.columns)
    return keep_splits(found, splits, str(root))
