"""Datasets of the Hugging Face library `datasets`: saved, in folders, or on the hub."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvcn.data.formats.rows import SAMPLE_ROWS, Row, Table, TableOptions
from mvcn.data.image_files import ImageFolder
from mvcn.data.split_names import group_by_split, left_out
from mvcn.data.table import corpus_of_table
from mvcn.errors import BadImageError, DataError, needs_extra, reason_of
from mvcn.files import require_allowed
from mvcn.types import Corpus, StoredImage

SPLIT_COLUMN = " split"
"""Added column of the split: a name that no real column has."""


@dataclass(frozen=True, slots=True)
class DatasetImage(StoredImage):
    """The bytes of an image in one row of a dataset."""

    dataset: Any
    row: int
    column: str

    def __str__(self) -> str:
        return f"in row {self.row + 1} of the dataset"

    def read(self) -> bytes:
        """Return the bytes of the image file.

        Raises:
            BadImageError: The row cannot be read.
        """
        try:
            content: bytes = self.dataset[self.row][self.column]["bytes"]
        except Exception as error:  # Arrow lets many kinds through for damaged files
            raise BadImageError(
                f"Image {self} cannot be read ({error}): replace it or leave it out."
            ) from error
        return content


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    name: str
    """Name in ids and errors; empty for a dataset without splits."""
    split: str | None
    """``train``, ``dev`` or ``test``."""
    rows: Any


def read_hugging_face(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read a dataset written by `save_to_disk`, or a folder or name for `load_dataset`.

    A name that is not a local folder is downloaded from the hub. Columns are those of a table;
    numbered labels are replaced by their names, in the order of the dataset. Images are read on
    demand. Splits that `split_of` does not recognise are left out, unless there are no others.

    Args:
        root: Folder or name.
        splits: Which of ``train``, ``dev``, ``test`` to read, if the dataset has splits.
        columns: Our name of a column -> its name in the dataset.
        images: Folder that image paths are relative to and must stay inside; by default `root`.
        options: How rows are read.

    Raises:
        DataError: The library is not installed, or there is no such dataset.
    """
    where = str(root)
    found, unknown = _splits(_load(root), where)
    requested = _requested(found, splits, where)
    has_splits = any(one.split for one in found)
    table = _table(requested, has_splits, where)
    given = {**(columns or {}), **({"split": SPLIT_COLUMN} if has_splits else {})}
    folder = ImageFolder(images or root)
    corpus = corpus_of_table(table, where, folder, given, options=options)
    names = {ours: theirs for ours, theirs in corpus.columns.items() if theirs != SPLIT_COLUMN}
    ids = {name: _ids(name, one, names.get("id", "")) for name, one in unknown.items()}
    sizes: Counter[str] = Counter()
    for one in found:
        if one.split is not None and one not in requested:
            sizes[one.split] += len(one.rows)
    return replace(
        corpus,
        class_names=_class_names(requested, names.get("label", "")) or corpus.class_names,
        removed={**corpus.removed, **left_out(where, ids)},
        columns=names,
        other_splits=sizes,
    )


def _table(splits: list[_Split], has_splits: bool, root: str) -> Table:
    columns = dict.fromkeys(name for one in splits for name in one.rows.column_names)

    def sample() -> Iterator[Mapping[str, Any]]:
        for one in splits:
            yield from one.rows.select(range(min(SAMPLE_ROWS, len(one.rows))))

    def rows(names: Mapping[str, str] | None) -> Iterator[Row]:
        for one in splits:
            yield from _rows(one, names or {}, root)

    return Table((*columns, *([SPLIT_COLUMN] if has_splits else [])), sample, rows)


def _load(root: Path) -> dict[str, Any]:
    """Return the splits of a dataset by their names; without a name, all of one without splits."""
    library = _library()
    saved = any((root / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))
    try:
        load = library.load_from_disk if saved else library.load_dataset
        loaded = load(str(root))
    except Exception as error:  # the library lets nearly every kind through
        for path in (root, *sorted(root.rglob("*"))):
            require_allowed(path, DataError)
        raise DataError(
            f"{root} cannot be read as a Hugging Face dataset ({reason_of(error)}): use a folder "
            "written by save_to_disk, or the name of a dataset on the Hugging Face hub."
        ) from error
    if not isinstance(loaded, dict):
        return {"": _undecoded(loaded, library)}
    if list(loaded) == ["train"]:  # what the library calls a dataset without splits
        return {"": _undecoded(loaded["train"], library)}
    return {name: _undecoded(one, library) for name, one in loaded.items()}


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise needs_extra("--data hugging-face", "datasets") from error
    datasets.disable_progress_bars()
    return datasets


def _undecoded(dataset: Any, library: Any) -> Any:
    """Keep images as the bytes of their files, so that all datasets are decoded alike."""
    for name, feature in dataset.features.items():
        if isinstance(feature, library.Image):
            dataset = dataset.cast_column(name, library.Image(decode=False))
    return dataset


def _splits(loaded: Mapping[str, Any], where: str) -> tuple[list[_Split], dict[str, Any]]:
    """Return the splits to read, and the unknown ones by name; all are read if none is known."""
    known = group_by_split(((name, name) for name in loaded), where)
    if not known:
        marks = loaded if len(loaded) > 1 else [""]
        return [_Split(m, None, d) for m, d in zip(marks, loaded.values(), strict=True)], {}
    ours = {name: split for split, theirs in known.items() for name in theirs}
    splits = [
        _Split(name if len(known[split]) > 1 else split, split, loaded[name])
        for name in loaded
        if (split := ours.get(name))
    ]
    return splits, {name: loaded[name] for name in loaded if name not in ours}


def _requested(found: list[_Split], splits: Collection[str] | None, where: str) -> list[_Split]:
    if splits is None:
        return found
    requested = [one for one in found if one.split is None or one.split in splits]
    if not requested:
        there = ", ".join(one.name for one in found)
        raise DataError(
            f"{where} has no split {' or '.join(splits)}, only {there}: choose one of these."
        )
    return requested


def _ids(name: str, rows: Any, column: str) -> list[str]:
    """Return the ids of the posts of a split, as in `_rows`."""
    if column in rows.features:
        return list(map(str, rows[column]))
    return [f"{name}-{number}" for number in range(1, len(rows) + 1)]


def _rows(split: _Split, names: Mapping[str, str], root: str) -> Iterator[Row]:
    """Yield the rows of one split; without ids, their numbers are the ids."""
    features, name = split.rows.features, split.name
    image = names.get("image", "")
    labels = [names.get(name, "") for name in ("label", "text_label", "image_label")]
    namers = {
        label: features[label].int2str
        for label in labels
        if hasattr(features.get(label), "int2str")
    }
    for number, record in enumerate(split.rows, start=1):
        cells = dict(record) | {SPLIT_COLUMN: split.split}
        for label, namer in namers.items():
            cells[label] = None if cells[label] is None or cells[label] < 0 else namer(cells[label])
        if isinstance(cells.get(image), dict) and cells[image].get("bytes") is not None:
            cells[image] = DatasetImage(split.rows, number - 1, image)
        default_id = f"{name}-{number}" if name else str(number)
        yield Row(cells, number, f"{root}, {name or 'row'} {number}", default_id=default_id)


def _class_names(splits: list[_Split], column: str) -> tuple[str, ...]:
    """Return the class names in the order of the dataset, if it defines them."""
    features = [one.rows.features.get(column) for one in splits]
    return tuple(dict.fromkeys(name for f in features for name in getattr(f, "names", ())))
