"""A folder of images, with a table of metadata or with a folder for each class."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from mvcn.data.datasets.class_folders import (
    HIDDEN,
    files_below,
    is_image,
    read_class_folders,
    visible_names,
)
from mvcn.data.formats.rows import TableOptions
from mvcn.data.parts import group_by_part, keep_parts, left_out
from mvcn.data.table import read_table
from mvcn.errors import DataError
from mvcn.types import Corpus, Post

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

LOG = logging.getLogger(__name__)


def read_image_folder(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read images as Hugging Face's ``imagefolder`` lays them out.

    Either ``metadata.csv`` (or ``.jsonl``, ``.parquet``) names each image under ``file_name``
    and has the columns of a table beside it, and a warning counts the images that it does not name;
    or each class has a folder of its images, an image ``cat.jpg`` with its text, if it has one, in
    ``cat.txt`` (UTF-8) beside it, with suffixes in any case. Both can be in folders below `root`
    called ``train``, ``validation`` and ``test``, or as `part_of` knows them; images elsewhere are
    then left out. Without an id column, the id of a post is the path of its image below `root`; of
    rows without an image of their own, it is the number of the row. Images in no folder of a class
    are posts without labels. Links are followed. Hidden images count as removed.

    Args:
        root: The folder.
        splits: Which of ``train``, ``dev``, ``test`` to return posts of, where there are such.
        columns: Our name of a column of the metadata -> its name there.
        options: How the rows of the metadata are read.

    Raises:
        DataError: Not such a folder; names the file.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: give the folder of the images.")
    parts = _parts(root)
    corpora = [_read_part(folder, root, split, columns, options) for folder, split in parts]
    posts = [post for corpus in corpora for post in corpus.posts]
    _require_once(posts, root)
    names = dict.fromkeys(name for corpus in corpora for name in corpus.class_names)
    hidden = tuple(name for corpus in corpora for name in corpus.removed.get(HIDDEN, ()))
    beside = _images_beside([folder for folder, _ in parts], root)
    for (folder, _), corpus in zip(parts, corpora, strict=True):
        if beside and not corpus.class_names and not _tables_in(folder):
            raise DataError(
                f"{folder} holds images in no folder of a class, and so does {min(beside)} beside "
                f"it: rename {folder.name}, which is read as a part, if it is a class."
            )
    removed = left_out(str(root), beside)
    if hidden:
        removed[HIDDEN] = hidden
    read = {ours: theirs for corpus in corpora for ours, theirs in corpus.columns.items()}
    found = Corpus(posts, tuple(sorted(names)), removed, columns=read)
    return keep_parts(found, splits, str(root))


def _parts(root: Path) -> list[tuple[Path, str | None]]:
    """Return the folders of the splits, or the whole folder where it has none."""
    folders = [(name, root / name) for name in visible_names(root) if (root / name).is_dir()]
    parts = group_by_part(folders, str(root))
    tables = _tables_in(root)
    if parts and tables:
        raise DataError(
            f"{root} has {tables[0].name} beside the folders of its parts: move its rows into a "
            "table in each of them."
        )
    found = [(folder, part) for part, folders in parts.items() for folder in folders]
    return [*found] or [(root, None)]


def _tables_in(folder: Path) -> list[Path]:
    """Return the tables of metadata in a folder, whatever the case of their names."""
    return [folder / name for name in visible_names(folder) if name.lower() in METADATA]


def _images_beside(parts: list[Path], root: Path) -> dict[str, list[str]]:
    """Return what lies beside the folders of the parts -> its images, as paths below `root`."""
    if parts == [root]:
        return {}
    found: dict[str, list[str]] = {}
    for name in visible_names(root):
        if (path := root / name) not in parts:
            below = sorted(path.rglob("*")) if path.is_dir() else [path]
            images = [p.relative_to(root).as_posix() for p in below if is_image(p)]
            found |= {name: images} if images else {}
    return found


def _read_part(
    folder: Path,
    root: Path,
    split: str | None,
    columns: Mapping[str, str] | None,
    options: TableOptions | None,
) -> Corpus:
    tables = _tables_in(folder)
    if len(tables) > 1:
        raise DataError(f"{folder} has {len(tables)} tables of metadata: keep one of them.")
    if tables:
        corpus = _read_metadata(tables[0], root, columns, options)
    else:
        corpus = read_class_folders(folder, root)
    posts = [replace(post, split=split or post.split) for post in corpus.posts]
    return replace(corpus, posts=posts)


def _read_metadata(
    path: Path, root: Path, columns: Mapping[str, str] | None, options: TableOptions | None
) -> Corpus:
    usual = replace(options or TableOptions(), remembered={"image": "file_name"})
    corpus = read_table(path, columns=columns, options=usual)
    if "image" not in corpus.columns:
        raise DataError(
            f"{path} has no column 'file_name' for 'image': add it, or name another one "
            "by --columns image=..."
        )
    named = {post.image for post in corpus.posts if isinstance(post.image, Path)}
    unnamed = [one for one in files_below(path.parent) if is_image(one) and one not in named]
    if unnamed:
        LOG.warning(
            "%s does not name %d image(s) of its folder, such as %s: they are not read.",
            *(path, len(unnamed), unnamed[0]),
        )
    return corpus if "id" in corpus.columns else _with_paths_as_ids(corpus, path.parent, root)


def _with_paths_as_ids(corpus: Corpus, folder: Path, root: Path) -> Corpus:
    """Return posts called by the path of their image, or by their row where that is not one's own.

    The ids that they have are the numbers of their rows.
    """
    paths = {post.id: post.image for post in corpus.posts if isinstance(post.image, Path)}
    counts = Counter(paths.values())
    own = {row: path for row, path in paths.items() if counts[path] == 1}
    posts = [
        replace(post, id=own.get(post.id, folder / post.id).relative_to(root).as_posix())
        for post in corpus.posts
    ]
    return replace(corpus, posts=posts)


def _require_once(posts: list[Post], root: Path) -> None:
    seen: dict[str, str | None] = {}
    for post in posts:
        if post.id in seen:
            raise DataError(
                f"{root}: id {post.id!r} is in {seen[post.id]} and in {post.split}: "
                "give the posts different ids in a column 'id'."
            )
        seen[post.id] = post.split
