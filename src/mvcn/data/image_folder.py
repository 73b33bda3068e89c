"""A folder of images, with a table of metadata or with a folder for each class."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from mvcn.data.files_by_id import IMAGE_SUFFIXES, TEXT_SUFFIXES, names_in
from mvcn.data.image_cells import ImageFolder
from mvcn.data.parts import group_by_part, keep_parts, left_out
from mvcn.data.rows import Row, TableOptions, read_bytes
from mvcn.data.table import corpus_of_rows, read_table
from mvcn.errors import DataError
from mvcn.types import Corpus, Post

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
CLASS_COLUMNS = {name: name for name in ("id", "text", "image", "label")}
HIDDEN = "hidden by the dot before its name"


def read_image_folder(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read images as Hugging Face's ``imagefolder`` lays them out.

    Either ``metadata.csv`` (or ``.jsonl``, ``.parquet``) names each image under ``file_name``
    and has the columns of a table beside it; or each class has a folder of its images, an image
    ``cat.jpg`` with its text, if it has one, in ``cat.txt`` (UTF-8) beside it, with suffixes in any
    case. Both can be in folders below `root` called ``train``, ``validation`` and ``test``, or as
    `part_of` knows them; images elsewhere are then left out. Without an id column, the id of a post
    is the path of its image below `root`. Links are followed. Hidden images count as removed.

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
    if not posts:
        raise DataError(f"{root} holds no images: give a folder with metadata.csv or classes.")
    hidden = tuple(name for corpus in corpora for name in corpus.removed.get(HIDDEN, ()))
    removed = left_out(str(root), _images_beside([folder for folder, _ in parts], root))
    if hidden:
        removed[HIDDEN] = hidden
    read = {ours: theirs for corpus in corpora for ours, theirs in corpus.columns.items()}
    found = Corpus(posts, tuple(sorted(names)), removed, columns=read)
    return keep_parts(found, splits, str(root))


def _parts(root: Path) -> list[tuple[Path, str | None]]:
    """Return the folders of the splits, or the whole folder where it has none."""
    folders = [(name, root / name) for name in _visible(root) if (root / name).is_dir()]
    parts = group_by_part(folders, str(root))
    tables = [name for name in METADATA if (root / name).is_file()]
    if parts and tables:
        raise DataError(
            f"{root} has {tables[0]} beside the folders of its parts: move its rows into a table "
            "in each of them."
        )
    found = [(folder, part) for part, folders in parts.items() for folder in folders]
    return [*found] or [(root, None)]


def _images_beside(parts: list[Path], root: Path) -> dict[str, list[str]]:
    """Return what lies beside the folders of the parts -> its images, as paths below `root`."""
    if parts == [root]:
        return {}
    found: dict[str, list[str]] = {}
    for name in _visible(root):
        if (path := root / name) not in parts:
            below = sorted(path.rglob("*")) if path.is_dir() else [path]
            images = [p.relative_to(root).as_posix() for p in below if _is_image(p)]
            found |= {name: images} if images else {}
    return found


def _read_part(
    folder: Path,
    root: Path,
    split: str | None,
    columns: Mapping[str, str] | None,
    options: TableOptions | None,
) -> Corpus:
    tables = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(tables) > 1:
        raise DataError(f"{folder} has {len(tables)} tables of metadata: keep one of them.")
    if tables:
        usual = replace(options or TableOptions(), remembered={"image": "file_name"})
        corpus = read_table(tables[0], columns=columns, options=usual)
        if "image" not in corpus.columns:
            raise DataError(
                f"{tables[0]} has no column 'file_name' for 'image': add it, or name another one "
                "by --columns image=..."
            )
    else:
        rows = _rows_of_classes(folder, root)
        corpus = corpus_of_rows(rows, str(folder), ImageFolder(root), CLASS_COLUMNS)
        corpus = replace(corpus, removed={HIDDEN: _hidden_images(folder, root)})
    posts = [replace(post, split=split or post.split) for post in corpus.posts]
    return replace(corpus, posts=posts)


def _rows_of_classes(folder: Path, root: Path) -> Iterator[Row]:
    """Yield one row for each image in a folder of a class."""
    number = 0
    for name in _visible(folder):
        path = folder / name
        if not path.is_dir():
            raise DataError(f"{path} is in no folder of a class, and there is no metadata.csv.")
        images, texts = _images_and_texts(path)
        for image in images:
            number += 1
            place = path / image
            text = _read_text(path, texts.get(os.path.splitext(image)[0], []))
            cells = {"id": place.relative_to(root).as_posix(), "text": text, "image": place}
            yield Row({**cells, "label": name}, number, str(place))


def _visible(folder: Path) -> list[str]:
    return sorted(name for name in names_in(folder) if not name.startswith((".", "Thumbs.db")))


def _images_and_texts(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of the images in a folder, and of the texts beside them by their stem."""
    images: list[str] = []
    texts: dict[str, list[str]] = {}
    others: list[str] = []
    for name in _visible(folder):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in IMAGE_SUFFIXES:
            images.append(name)
        elif suffix.lower() in TEXT_SUFFIXES:
            texts.setdefault(stem, []).append(name)
        else:
            others.append(name)
    stems = {os.path.splitext(name)[0] for name in images}
    others += [name for stem, names in texts.items() if stem not in stems for name in names]
    if others:
        raise DataError(
            f"{folder / min(others)} is neither an image nor the text of one: take it away."
        )
    if not images:
        raise DataError(f"{folder} holds no images of its class: fill it or take it away.")
    return images, texts


def _hidden_images(folder: Path, root: Path) -> tuple[str, ...]:
    """Return what would be images of posts but for their names, as paths below `root`."""
    return tuple(
        path.relative_to(root).as_posix()
        for path in sorted(folder.glob("*/.*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _read_text(folder: Path, names: list[str]) -> str:
    """Return the text beside an image; empty where there is none."""
    if not names:
        return ""
    path = folder / names[0]
    if len(names) > 1:
        raise DataError(f"{path} and {names[1]} are both the text of one image: keep one of them.")
    try:
        return read_bytes(path, "text").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8: save it as UTF-8.") from error


def _require_once(posts: list[Post], root: Path) -> None:
    seen: dict[str, str | None] = {}
    for post in posts:
        if post.id in seen:
            raise DataError(
                f"{root}: id {post.id!r} is in {seen[post.id]} and in {post.split}: "
                "give the posts different ids in a column 'id'."
            )
        seen[post.id] = post.split
