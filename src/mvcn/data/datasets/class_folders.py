"""Images in a folder for each class, with the text of an image in a file beside it."""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mvcn.data.formats.registry import OPENERS
from mvcn.data.formats.rows import Row, read_bytes
from mvcn.data.image_files import IMAGE_SUFFIXES, NOT_DATA, TEXT_SUFFIXES, ImageFolder, names_in
from mvcn.data.parts import part_of
from mvcn.data.table import corpus_of_rows
from mvcn.errors import DataError
from mvcn.files import require_allowed
from mvcn.types import Corpus

COLUMNS = {name: name for name in ("id", "text", "image", "label")}
HIDDEN = "hidden by the dot before its name"
IGNORED = ("Thumbs.db", "desktop.ini", *NOT_DATA)
"""What systems put into folders by themselves."""
NAMED = 12

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of one class, by what they are."""

    images: list[Path] = field(default_factory=list)
    texts: dict[str, list[Path]] = field(default_factory=dict)
    """Path without suffix -> the texts of that name."""
    others: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    """What would be an image but for its name."""


def read_class_folders(folder: Path, root: Path) -> Corpus:
    """Read the images below the folder of each class, in the order of their paths.

    Without folders of classes, the images in `folder` itself are posts without labels. Files that
    are neither an image nor the text of one are named in the log; hidden images go to ``removed``.

    Args:
        folder: Holds the folders of the classes.
        root: What the ids of the posts are relative to.

    Raises:
        DataError: There are no images, a class has none, or an image is beside the folders.
    """
    names = visible_names(folder)
    classes = [name for name in names if (folder / name).is_dir()]
    loose = [folder / name for name in names if name not in classes]
    found: dict[str | None, _Files]
    if classes:
        found = {name: _sorted(files_below(folder / name)) for name in classes}
        _require_classes(found, folder)
        _require_no_images(loose)
    else:
        found = {None: _sorted(loose)}
        _require_no_table(loose, folder, found[None])
    _log(found, folder, loose if classes else [])
    rows = list(_rows(found, root))
    if not rows:
        raise DataError(f"{folder} holds no images: give a folder with metadata.csv or classes.")
    corpus = corpus_of_rows(rows, str(folder), ImageFolder(root), COLUMNS)
    hidden = [path for files in found.values() for path in files.hidden]
    return replace(corpus, removed={HIDDEN: tuple(p.relative_to(root).as_posix() for p in hidden)})


def visible_names(folder: Path) -> list[str]:
    """Return the names of what is in a folder, in order; hidden files and the system's left out.

    Raises:
        DataError: You may not read it.
    """
    require_allowed(folder, DataError, "Folder")
    return sorted(name for name in names_in(folder) if not name.startswith((".", *IGNORED)))


def files_below(folder: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """Return the files below a folder with the hidden ones; links are followed, circles left."""
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
                files += files_below(path, (*above, folder.resolve()))
    return files


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is an image that is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _sorted(paths: Iterable[Path]) -> _Files:
    """Return files by what they are; a text without an image is of no use."""
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
    """Raise a DataError where folders hold no images, or are those of a whole data set."""
    for name, files in found.items():
        place = folder / str(name)
        if not files.images:
            raise DataError(f"{place} holds no images of its class: fill it or take it away.")
        direct = {image.name for image in files.images if image.parent == place}
        folders = {image.relative_to(place).parts[0] for image in files.images} - direct
        if any(map(part_of, folders)) or (len(found) == 1 and not direct):
            raise DataError(
                f"{place} holds its images in folders, such as {min(folders)}, which may be "
                f"classes or parts: name {place} itself by --root."
            )


def _require_no_images(loose: Iterable[Path]) -> None:
    """Raise a DataError where an image is beside the folders of the classes."""
    for path in filter(is_image, loose):
        raise DataError(
            f"{path} is in no folder of a class, and there is no metadata.csv: move it into one."
        )


def _require_no_table(loose: Iterable[Path], folder: Path, files: _Files) -> None:
    """Raise a DataError where images without classes have a table beside them."""
    tables = [p for p in loose if p.suffix.lower() in OPENERS and p.suffix.lower() != ".txt"]
    if files.images and tables:
        raise DataError(
            f"{folder} has {tables[0].name} beside its images: read it by --data table --root "
            f"{tables[0]}, or rename it to metadata{tables[0].suffix.lower()}."
        )


def _log(found: dict[str | None, _Files], folder: Path, loose: list[Path]) -> None:
    classes = [name for name in found if name is not None]
    count = sum(len(files.images) for files in found.values())
    if classes:
        more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
        shown = ", ".join(map(repr, classes[:NAMED])) + more
        LOG.info("%s: %d image(s) in the folders of the classes %s.", folder, count, shown)
    elif count:
        LOG.warning(
            "%s has no folders of classes: its %d image(s) are posts without labels.",
            *(folder, count),
        )
    for path in loose:
        LOG.info("%s is not read: it is in no folder of a class.", path)
    others = [path for files in found.values() for path in files.others]
    if others and count:
        LOG.warning(
            "%s: %d file(s) are neither images nor the texts of images, such as %s: they are not "
            "read.",
            *(folder, len(others), min(others)),
        )


def _rows(found: dict[str | None, _Files], root: Path) -> Iterator[Row]:
    number = 0
    for label, files in found.items():
        for image in files.images:
            number += 1
            text = _read_text(files.texts.get(_stem(image), []))
            cells = {"id": image.relative_to(root).as_posix(), "text": text, "image": image}
            yield Row({**cells, "label": label}, number, str(image))


def _read_text(paths: list[Path]) -> str:
    """Return the text beside an image; empty where there is none."""
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
            f"{paths[0]}: byte {error.start} is not UTF-8: save it as UTF-8."
        ) from error
