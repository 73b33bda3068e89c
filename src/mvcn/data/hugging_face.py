"""Data sets of the Hugging Face library `datasets`: saved ones, folders, and names on the hub."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvcn.data.image_cells import ImageFolder
from mvcn.data.parts import SPLIT_NAMES
from mvcn.data.rows import SAMPLE_ROWS, Row, Table, TableOptions
from mvcn.data.table import corpus_of_table
from mvcn.errors import BadImageError, DataError
from mvcn.types import Corpus, ImageFacts

SPLIT_COLUMN = " split"
"""Where rows carry their part: a name that no column has."""


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """The bytes of an image in one row of a data set."""

    dataset: Any
    row: int
    column: str

    @property
    def facts(self) -> ImageFacts | None:
        """Nothing: the data set says nothing of its images."""
        return None

    def __hash__(self) -> int:
        return hash((id(self.dataset), self.row, self.column))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DatasetImage):
            return NotImplemented
        mine, theirs = ((i.row, i.column) for i in (self, other))
        return self.dataset is other.dataset and mine == theirs

    def __str__(self) -> str:
        return f"in row {self.row + 1} of the data set"

    def read(self) -> bytes:
        """Return the bytes of the image file.

        Raises:
            BadImageError: The row cannot be read.
        """
        try:
            content: bytes = self.dataset[self.row][self.column]["bytes"]
        except Exception as error:  # Arrow lets many kinds through for damaged files
            raise BadImageError(f"Image {self} cannot be read ({error}): restore it.") from error
        return content


def read_hugging_face(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read a data set that `save_to_disk` wrote, or that `load_dataset` knows by folder or name.

    A name that is no folder here is looked up on the hub and downloaded. Columns are those of a
    table; labels that the data set numbers get their names, in its order. Images are read when
    they are needed.

    Args:
        root: Folder or name.
        splits: Which of ``train``, ``dev``, ``test`` to read, where there are such.
        columns: Our name of a column -> its name in the data set.
        images: What image paths are relative to, and must stay inside; else `root`.
        options: How rows are read.

    Raises:
        DataError: The library is not installed, or there is no such data set.
    """
    parts = _wanted(_load(root), splits)
    table = _table(parts, str(root))
    has_parts = None not in parts
    corpus = corpus_of_table(
        table,
        str(root),
        ImageFolder(images or root),
        {**(columns or {}), **({"split": SPLIT_COLUMN} if has_parts else {})},
        None,
        options,
    )
    found = {ours: theirs for ours, theirs in corpus.columns.items() if theirs != SPLIT_COLUMN}
    names = _class_names(parts, corpus.columns.get("label", "")) or corpus.class_names
    return replace(corpus, class_names=names, columns=found)


def _table(parts: Mapping[str | None, Any], root: str) -> Table:
    columns = dict.fromkeys(name for part in parts.values() for name in part.column_names)

    def sample() -> Iterator[Mapping[str, Any]]:
        firsts = (part.select(range(min(SAMPLE_ROWS, len(part)))) for part in parts.values())
        return (row for part in firsts for row in part)

    def rows(names: Mapping[str, str]) -> Iterator[Row]:
        return (row for split, part in parts.items() for row in _rows(part, split, names, root))

    return Table((*columns, *([SPLIT_COLUMN] if None not in parts else [])), sample, rows)


def _load(root: Path) -> dict[str | None, Any]:
    """Return the parts of a data set by our names; None for all of one that has no parts."""
    library = _library()
    saved = any((root / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))
    try:
        load = library.load_from_disk if saved else library.load_dataset
        loaded = load(str(root))
    except Exception as error:  # the library lets nearly every kind through
        reason = " ".join(str(error).split())[:150].rstrip(".")
        raise DataError(
            f"{root} cannot be read as a Hugging Face data set ({reason}): give a folder that "
            "save_to_disk wrote, or a name that this machine can reach."
        ) from error
    if not isinstance(loaded, dict):
        return {None: _undecoded(loaded, library)}
    if list(loaded) == ["train"]:  # what the library calls a data set without parts
        return {None: _undecoded(loaded["train"], library)}
    return {SPLIT_NAMES.get(name.lower()): _undecoded(p, library) for name, p in loaded.items()}


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "Hugging Face data sets need a further library: pip install 'mvcn[datasets]'."
        ) from error
    datasets.disable_progress_bars()
    return datasets


def _undecoded(dataset: Any, library: Any) -> Any:
    """Leave images as the bytes of their files: decoding is the same everywhere in our hands."""
    for name, feature in dataset.features.items():
        if isinstance(feature, library.Image):
            dataset = dataset.cast_column(name, library.Image(decode=False))
    return dataset


def _wanted(
    parts: Mapping[str | None, Any], splits: Collection[str] | None
) -> Mapping[str | None, Any]:
    if splits is None or None in parts:
        return parts
    return {split: part for split, part in parts.items() if split in splits}


def _rows(dataset: Any, split: str | None, names: Mapping[str, str], root: str) -> Iterator[Row]:
    """Yield the rows of one part; without ids, their number in it is their id."""
    image = names["image"]
    labels = [names[name] for name in ("label", "text_label", "image_label")]
    namers = {
        name: f.int2str for name in labels if hasattr(f := _feature(dataset, name), "int2str")
    }
    for number, record in enumerate(dataset, start=1):
        cells = dict(record) | {SPLIT_COLUMN: split}
        for name, namer in namers.items():
            cells[name] = None if cells[name] is None or cells[name] < 0 else namer(cells[name])
        if isinstance(cells.get(image), dict) and cells[image].get("bytes") is not None:
            cells[image] = DatasetImage(dataset, number - 1, image)
        where = f"{root}, {split or 'row'} {number}"
        yield Row(cells, number, where, default_id=f"{split}-{number}" if split else str(number))


def _feature(dataset: Any, column: str) -> Any:
    return dataset.features.get(column)


def _class_names(parts: Mapping[str | None, Any], column: str) -> tuple[str, ...]:
    """Return the classes in the order of the data set, where it has one."""
    features = [_feature(part, column) for part in parts.values()]
    return tuple(dict.fromkeys(name for f in features for name in getattr(f, "names", ())))
