"""Folders of images, with a table of metadata or a folder for each class."""

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mvcn.data.formats.rows import Row, TableOptions, read_bytes
from mvcn.data.image_files import IMAGE_SUFFIXES, NOT_DATA, TEXT_SUFFIXES, ImageFolder, names_in
from mvcn.data.row_errors import RowErrors
from mvcn.data.split_names import group_by_split, keep_splits, left_out, split_of
from mvcn.data.table import OPENERS, corpus_of_rows, read_table
from mvcn.errors import DataError, count_of
from mvcn.files import require_allowed
from mvcn.types import Corpus, Post

CLASS_COLUMNS = {name: name for name in ("id", "text", "image", "label")}
HIDDEN = "hidden by the dot before its name"
IGNORED = ("Thumbs.db", "desktop.ini", *NOT_DATA)
"""Files that operating systems create in folders."""
NAMED = 12
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

LOG = logging.getLogger(__name__)


def read_image_folder(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read images in the layout of Hugging Face's ``imagefolder``.

    Either ``metadata.csv`` (or ``.jsonl``, ``.parquet``) names each image under ``file_name``
    and has the columns of a table, and a warning counts images without a row; or each class has a
    folder of images, with the text of ``cat.jpg``, if any, in ``cat.txt`` (UTF-8) next to it, and
    suffixes in any case. Both can be in folders below `root` with names of splits, such as
    ``train``, ``validation`` and ``test`` (see `split_of`); images elsewhere are then left out.

    Without an id column, the id of a post is the path of its image below `root`, or the number of
    its row if it has no image or shares one. Images outside the folders of classes are posts
    without labels. Links are followed. Hidden images count as removed.

    Args:
        root: The folder.
        splits: Which of ``train``, ``dev``, ``test`` to return, if there are splits.
        columns: Our name of a column of the metadata -> its name there.
        options: How the rows of the metadata are read.

    Raises:
        DataError: The folder has another layout; names the file.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: use the folder that holds the images.")
    folders = _splits(root)
    corpora = [_read_split(folder, root, split, columns, options) for folder, split in folders]
    posts = [post for corpus in corpora for post in corpus.posts]
    _require_once(posts, root)
    names = dict.fromkeys(name for corpus in corpora for name in corpus.class_names)
    hidden = tuple(name for corpus in corpora for name in corpus.removed.get(HIDDEN, ()))
    outside = _images_outside([folder for folder, _ in folders], root)
    if outside:
        _require_labelled_splits(folders, corpora, min(outside))
    removed = left_out(str(root), outside)
    if hidden:
        removed[HIDDEN] = hidden
    read = {ours: theirs for corpus in corpora for ours, theirs in corpus.columns.items()}
    found = Corpus(posts, tuple(sorted(names)), removed, columns=read)
    return keep_splits(found, splits, str(root))


def _require_labelled_splits(
    folders: list[tuple[Path, str | None]], corpora: list[Corpus], other: str
) -> None:
    """Raise a DataError where a folder read as a split may be a class next to another one."""
    for (folder, _), corpus in zip(folders, corpora, strict=True):
        if not corpus.class_names and not _tables_in(folder):
            raise DataError(
                f"{folder} and {other} hold images that are not in class folders: if {folder.name} "
                "is a class and not a split, rename it."
            )


def _splits(root: Path) -> list[tuple[Path, str | None]]:
    """Return the folders of the splits, or the folder itself without any."""
    folders = [(name, root / name) for name in _visible_names(root) if (root / name).is_dir()]
    splits = group_by_split(folders, str(root))
    tables = _tables_in(root)
    if splits and tables:
        raise DataError(
            f"{root} has {tables[0].name} next to its split folders: move its rows into a table "
            "inside each split folder."
        )
    found = [(folder, split) for split, folders in splits.items() for folder in folders]
    return [*found] or [(root, None)]


def _tables_in(folder: Path) -> list[Path]:
    """Return the tables of metadata in a folder, with names in any case."""
    return [folder / name for name in _visible_names(folder) if name.lower() in METADATA]


def _images_outside(folders: list[Path], root: Path) -> dict[str, list[str]]:
    """Return name next to the folders of the splits -> its images, as paths below `root`."""
    if folders == [root]:
        return {}
    found: dict[str, list[str]] = {}
    for name in _visible_names(root):
        if (path := root / name) not in folders:
            below = sorted(path.rglob("*")) if path.is_dir() else [path]
            images = [p.relative_to(root).as_posix() for p in below if _is_image(p)]
            found |= {name: images} if images else {}
    return found


def _read_split(
    folder: Path,
    root: Path,
    split: str | None,
    columns: Mapping[str, str] | None,
    options: TableOptions | None,
) -> Corpus:
    tables = _tables_in(folder)
    if len(tables) > 1:
        raise DataError(
            f"{folder} has {len(tables)} metadata tables, such as {tables[0].name} and "
            f"{tables[1].name}: keep only one."
        )
    if tables:
        corpus = _read_metadata(tables[0], root, columns, options)
    else:
        corpus = _read_class_folders(folder, root)
    posts = [replace(post, split=split or post.split) for post in corpus.posts]
    return replace(corpus, posts=posts)


def _read_metadata(
    path: Path, root: Path, columns: Mapping[str, str] | None, options: TableOptions | None
) -> Corpus:
    usual = replace(options or TableOptions(), remembered={"image": "file_name"})
    corpus = read_table(path, columns=columns, options=usual)
    if "image" not in corpus.columns:
        raise DataError(
            f"{path} has no column 'file_name': add it, or say which column holds the paths of the "
            "images with --columns image=NAME."
        )
    named = {post.image for post in corpus.posts if isinstance(post.image, Path)}
    unnamed = [one for one in _files_below(path.parent) if _is_image(one) and one not in named]
    if unnamed:
        LOG.warning(
            "%s does not list %s, such as %s: only listed images are read.",
            *(path, count_of(len(unnamed), "image of its folder", "images of its folder")),
            unnamed[0],
        )
    return corpus if "id" in corpus.columns else _with_paths_as_ids(corpus, path.parent, root)


def _with_paths_as_ids(corpus: Corpus, folder: Path, root: Path) -> Corpus:
    """Return posts with the path of their image as id, or their row if the image is shared.

    Their ids so far are the numbers of their rows.
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
    errors = RowErrors(str(root))
    for post in posts:
        with errors.collect():
            if post.id in seen:
                raise DataError(
                    f"{root}: id {post.id!r} is in both {seen[post.id]} and {post.split}: give the "
                    "posts different ids in a column 'id'."
                )
            seen[post.id] = post.split
    errors.require_none()


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of one class, by kind."""

    images: list[Path] = field(default_factory=list)
    texts: dict[str, list[Path]] = field(default_factory=dict)
    """Path without suffix -> texts of that name."""
    others: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    """Images with hidden names."""


def _read_class_folders(folder: Path, root: Path) -> Corpus:
    """Read the images below the folder of each class, in the order of their paths.

    Without folders of classes, the images in `folder` itself are posts without labels. Files that
    are neither an image nor the text of one are named in the log; hidden images go to ``removed``.

    Args:
        folder: Folder with the folders of the classes.
        root: Folder that the ids of the posts are relative to.

    Raises:
        DataError: There are no images, a class has none, or an image is next to the folders.
    """
    names = _visible_names(folder)
    classes = [name for name in names if (folder / name).is_dir()]
    loose = [folder / name for name in names if name not in classes]
    found: dict[str | None, _Files]
    if classes:
        found = {name: _sorted(_files_below(folder / name)) for name in classes}
        _require_classes(found, folder)
        _require_no_images(loose, folder)
    else:
        found = {None: _sorted(loose)}
        _require_no_table(loose, folder, found[None])
    _log(found, folder, loose if classes else [])
    rows = _rows(found, folder, root)
    if not rows:
        raise DataError(
            f"{folder} holds no images: use a folder that has metadata.csv or one folder for each "
            "class."
        )
    corpus = corpus_of_rows(rows, str(folder), ImageFolder(root), CLASS_COLUMNS)
    hidden = [path for files in found.values() for path in files.hidden]
    removed = {HIDDEN: tuple(path.relative_to(root).as_posix() for path in hidden)}
    return replace(corpus, removed=removed, columns={})  # those of the rows are in no file


def _visible_names(folder: Path) -> list[str]:
    """Return the sorted names in a folder without hidden files and those of the system.

    Raises:
        DataError: The folder is not readable.
    """
    require_allowed(folder, DataError, "Folder")
    return sorted(name for name in names_in(folder) if not name.startswith((".", *IGNORED)))


def _files_below(folder: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """Return all files below a folder, also hidden ones; links are followed, except for loops."""
    require_allowed(folder, DataError, "Folder")
    if folder.resolve() in above:
        return []
    files: list[Path] = []
    for name in sorted(names_in(folder)):
        path = folder / name
        if not name.startswith(IGNORED):
            if not path.is_dir():
                files.append(path)
            elif not name.startswith("."):
                files += _files_below(path, (*above, folder.resolve()))
    return files


def _is_image(path: Path) -> bool:
    """Return whether a path is that of an image that is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _sorted(paths: Iterable[Path]) -> _Files:
    """Sort files by kind; texts without an image are among the others."""
    files = _Files()
    for path in paths:
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            files.hidden.extend([path] if suffix in IMAGE_SUFFIXES else [])
        elif suffix in IMAGE_SUFFIXES:
            files.images.append(path)
        elif suffix in TEXT_SUFFIXES:
            files.texts.setdefault(_stem(path), []).append(path)
        else:
            files.others.append(path)
    stems = set(map(_stem, files.images))
    files.others.extend(
        p for stem, texts in files.texts.items() if stem not in stems for p in texts
    )
    return files


def _stem(path: Path) -> str:
    return os.path.splitext(path)[0]


def _require_classes(found: dict[str | None, _Files], folder: Path) -> None:
    """Raise a DataError if a class has no images, or a folder seems to be a dataset itself."""
    errors = RowErrors(str(folder))
    for name, files in found.items():
        place = folder / str(name)
        with errors.collect():
            if not files.images:
                raise DataError(
                    f"The class folder {place} holds no images: add some, or remove the folder."
                )
            direct = {image.name for image in files.images if image.parent == place}
            folders = {image.relative_to(place).parts[0] for image in files.images} - direct
            if any(map(split_of, folders)) or (len(found) == 1 and not direct):
                raise DataError(
                    f"{place} holds its images in folders, such as {min(folders)}, which may be "
                    f"classes or splits: pass {place} itself with --root."
                )
    errors.require_none()


def _require_no_images(loose: Iterable[Path], folder: Path) -> None:
    """Raise a DataError if an image is next to the folders of the classes."""
    errors = RowErrors(str(folder))
    for path in filter(_is_image, loose):
        with errors.collect():
            raise DataError(
                f"{path} is not in a class folder, and there is no metadata.csv: move it into a "
                "class folder."
            )
    errors.require_none()


def _require_no_table(loose: Iterable[Path], folder: Path, files: _Files) -> None:
    """Raise a DataError if images without classes have a table next to them."""
    tables = [p for p in loose if p.suffix.lower() in OPENERS and p.suffix.lower() != ".txt"]
    if files.images and tables:
        raise DataError(
            f"{folder} has {tables[0].name} next to its images: read it with --data table --root "
            f"{tables[0]}, or rename it to metadata{tables[0].suffix.lower()}."
        )


def _log(found: dict[str | None, _Files], folder: Path, loose: list[Path]) -> None:
    classes = [name for name in found if name is not None]
    count = sum(len(files.images) for files in found.values())
    if classes:
        more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
        shown = ", ".join(map(repr, classes[:NAMED])) + more
        LOG.info(
            "%s: %s in the folders of the classes %s.", folder, count_of(count, "image"), shown
        )
    elif count:
        LOG.warning(
            "%s has no class folders: its %s without labels.",
            *(folder, count_of(count, "image is a post", "images are posts")),
        )
    for path in loose:
        LOG.info("%s is not read because it is not in a class folder.", path)
    others = [path for files in found.values() for path in files.others]
    if others and count:
        LOG.warning(
            "%s: %s not read, such as %s: only images and their texts are.",
            *(folder, count_of(len(others), "file is", "files are"), min(others)),
        )


def _rows(found: dict[str | None, _Files], folder: Path, root: Path) -> list[Row]:
    rows: list[Row] = []
    errors = RowErrors(str(folder))
    for label, files in found.items():
        for image in files.images:
            with errors.collect():
                text = _read_text(files.texts.get(_stem(image), []))
                cells = {"id": image.relative_to(root).as_posix(), "text": text, "image": image}
                rows.append(Row({**cells, "label": label}, len(rows) + 1, str(image)))
    errors.require_none()
    return rows


def _read_text(paths: list[Path]) -> str:
    """Return the text of an image; empty without one."""
    if not paths:
        return ""
    if len(paths) > 1:
        raise DataError(
            f"{paths[0]} and {paths[1].name} are both the text of one image: keep one of them."
        )
    try:
        return read_bytes(paths[0], "text").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{paths[0]}: byte {error.start} is not UTF-8: save the file as UTF-8."
        ) from error
