"""Data sets of the Hugging Face library `datasets`: saved ones, folders, and names on the hub."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvcn.data.formats.rows import SAMPLE_ROWS, Row, Table, TableOptions
from mvcn.data.image_files import ImageFolder
from mvcn.data.parts import group_by_part, left_out
from mvcn.data.table import corpus_of_table
from mvcn.errors import BadImageError, DataError, reason_of
from mvcn.files import require_allowed
from mvcn.types import Corpus, StoredImage

SPLIT_COLUMN = " split"
"""Where rows carry their part: a name that no column has."""


@dataclass(frozen=True, slots=True)
class DatasetImage(StoredImage):
    """The bytes of an image in one row of a data set."""

    dataset: Any
    row: int
    column: str

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


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    name: str
    """What ids and errors call it; empty for all of a data set without parts."""
    split: str | None
    dataset: Any


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
    they are needed. Parts that `part_of` does not know are left out, unless there are no others.

    Args:
        root: Folder or name.
        splits: Which of ``train``, ``dev``, ``test`` to read, where there are such.
        columns: Our name of a column -> its name in the data set.
        images: What image paths are relative to, and must stay inside; else `root`.
        options: How rows are read.

    Raises:
        DataError: The library is not installed, or there is no such data set.
    """
    parts, unknown = _parts(_load(root), str(root))
    wanted = _wanted(parts, splits, str(root))
    has_parts = any(part.split for part in parts)
    corpus = corpus_of_table(
        _table(wanted, has_parts, str(root)),
        str(root),
        ImageFolder(images or root),
        {**(columns or {}), **({"split": SPLIT_COLUMN} if has_parts else {})},
        None,
        options,
    )
    found = {ours: theirs for ours, theirs in corpus.columns.items() if theirs != SPLIT_COLUMN}
    ids = {name: _ids(name, one, found.get("id", "")) for name, one in unknown.items()}
    return replace(
        corpus,
        class_names=_class_names(wanted, found.get("label", "")) or corpus.class_names,
        removed={**corpus.removed, **left_out(str(root), ids)},
        columns=found,
        other_parts=_sizes([part for part in parts if part not in wanted]),
    )


def _table(parts: list[_Part], has_parts: bool, root: str) -> Table:
    columns = dict.fromkeys(name for part in parts for name in part.dataset.column_names)

    def sample() -> Iterator[Mapping[str, Any]]:
        for part in parts:
            yield from part.dataset.select(range(min(SAMPLE_ROWS, len(part.dataset))))

    def rows(names: Mapping[str, str] | None) -> Iterator[Row]:
        for part in parts:
            yield from _rows(part, names or {}, root)

    return Table((*columns, *([SPLIT_COLUMN] if has_parts else [])), sample, rows)


def _load(root: Path) -> dict[str, Any]:
    """Return the parts of a data set by their names; without a name, all of one without parts."""
    library = _library()
    saved = any((root / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))
    try:
        load = library.load_from_disk if saved else library.load_dataset
        loaded = load(str(root))
    except Exception as error:  # the library lets nearly every kind through
        for path in (root, *sorted(root.rglob("*"))):
            require_allowed(path, DataError)
        raise DataError(
            f"{root} cannot be read as a Hugging Face data set ({reason_of(error)}): "
            "give a folder that save_to_disk wrote, or a name that this machine can reach."
        ) from error
    if not isinstance(loaded, dict):
        return {"": _undecoded(loaded, library)}
    if list(loaded) == ["train"]:  # what the library calls a data set without parts
        return {"": _undecoded(loaded["train"], library)}
    return {name: _undecoded(part, library) for name, part in loaded.items()}


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


def _parts(loaded: Mapping[str, Any], source: str) -> tuple[list[_Part], dict[str, Any]]:
    """Return the parts that can be read, and the others by name; without ours, all are read."""
    known = group_by_part(((name, name) for name in loaded), source)
    if not known:
        marks = loaded if len(loaded) > 1 else [""]
        return [_Part(m, None, d) for m, d in zip(marks, loaded.values(), strict=True)], {}
    part_of = {name: part for part, theirs in known.items() for name in theirs}
    parts = [
        _Part(name if len(known[part]) > 1 else part, part, loaded[name])
        for name in loaded
        if (part := part_of.get(name))
    ]
    return parts, {name: loaded[name] for name in loaded if name not in part_of}


def _wanted(parts: list[_Part], splits: Collection[str] | None, source: str) -> list[_Part]:
    if splits is None:
        return parts
    wanted = [part for part in parts if part.split is None or part.split in splits]
    if not wanted:
        there = ", ".join(part.name for part in parts)
        raise DataError(f"{source} has no part {' or '.join(splits)}, but {there}: name another.")
    return wanted


def _sizes(parts: list[_Part]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for part in parts:
        if part.split is not None:
            sizes[part.split] += len(part.dataset)
    return sizes


def _ids(name: str, dataset: Any, column: str) -> list[str]:
    """Return the ids of the posts of a part, as `_rows` would give them."""
    if column in dataset.features:
        return list(map(str, dataset[column]))
    return [f"{name}-{number}" for number in range(1, len(dataset) + 1)]


def _rows(part: _Part, names: Mapping[str, str], root: str) -> Iterator[Row]:
    """Yield the rows of one part; without ids, their number in it is their id."""
    dataset, name = part.dataset, part.name
    image = names.get("image", "")
    labels = [names.get(name, "") for name in ("label", "text_label", "image_label")]
    namers = {
        label: f.int2str for label in labels if hasattr(f := _feature(dataset, label), "int2str")
    }
    for number, record in enumerate(dataset, start=1):
        cells = dict(record) | {SPLIT_COLUMN: part.split}
        for label, namer in namers.items():
            cells[label] = None if cells[label] is None or cells[label] < 0 else namer(cells[label])
        if isinstance(cells.get(image), dict) and cells[image].get("bytes") is not None:
            cells[image] = DatasetImage(dataset, number - 1, image)
        default_id = f"{name}-{number}" if name else str(number)
        yield Row(cells, number, f"{root}, {name or 'row'} {number}", default_id=default_id)


def _feature(dataset: Any, column: str) -> Any:
    return dataset.features.get(column)


def _class_names(parts: list[_Part], column: str) -> tuple[str, ...]:
    """Return the classes in the order of the data set, where it has one."""
    features = [_feature(part.dataset, column) for part in parts]
    return tuple(dict.fromkeys(name for f in features for name in getattr(f, "names", ())))
