"""WebDataset: tar files in which the members of a post share a name."""

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mvcn.data.formats.posts import RowFile, UnreadableCell
from mvcn.data.formats.rows import SAMPLE_ROWS, Row, Table, TableOptions
from mvcn.data.image_files import NOT_DATA, ImageFolder
from mvcn.data.row_errors import RowErrors
from mvcn.data.split_names import WORDS
from mvcn.data.stored_files import TAR_SUFFIXES, StoredFile, find_files
from mvcn.data.stored_images import TarMember, read_members, version_of
from mvcn.data.table import corpus_of_table
from mvcn.errors import BadImageError, DataError, count_of, needs_extra, reason_of
from mvcn.types import Corpus

LOGGER = logging.getLogger(__name__)

WORD = re.compile(r"[A-Za-z]+")
IMAGE_SUFFIXES = frozenset(
    [
        *("jpg", "jpeg", "jpe", "jfif", "png", "gif", "webp", "bmp", "tif", "tiff", "avif"),
        *("jp2", "ppm", "pgm", "pbm"),
    ]
)
TEXT_SUFFIXES = {"txt": "text", "cls": "label"}
"""Suffix of a text member -> its column, unless another member has that name."""
TEXTS = frozenset([*TEXT_SUFFIXES, *TEXT_SUFFIXES.values(), "caption"])
"""Suffixes of text members."""
SAMPLES_AT_ONCE = 256
META = re.compile(r"__[^/]*__($|/)")
"""Members reserved by WebDataset."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The members of one post."""

    shard: StoredFile
    number: int
    """In its shard; 1 is the first."""
    key: str
    """Path of its members up to the first dot of the last name."""
    members: Mapping[str, TarMember]
    """Suffix after that dot, in lower case -> member."""


def read_webdataset(
    root: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read shards of a WebDataset, as `webdataset` and img2dataset write them, unpacking nothing.

    A post is a sample: ``key.jpg`` (or another image) with ``key.txt``, ``key.text`` or the field
    ``text`` or ``caption`` of ``key.json``, and ``key.cls``, ``key.label`` or the field ``label``;
    other fields and members are columns like those of a table. Texts are read immediately, images
    on demand. A post's id is its key, or ``shard/key`` for all posts if two shards have the same
    key. A shard named after a split (``train-0001.tar``, ``val/0001.tar``) belongs to it, unless
    a field ``split`` overrides it.

    Args:
        root: A tar file, a folder of them, or a pattern such as ``shards/{00000..00010}.tar``.
        splits: Which of ``train``, ``dev``, ``test`` to read, if there are splits.
        columns: Our name of a column -> a field, or a member's name after the first dot.
        images: Folder that image paths in a field are relative to and must stay inside.
        options: How rows are read.

    Raises:
        ConfigError: `columns` has an unknown name, or maps two of ours to one column.
        DataError: The library is not installed, or a shard is damaged; names shard and member.
    """
    shards = find_files([str(root)], TAR_SUFFIXES, "tar file")
    samples = [sample for shard in shards for sample in read_samples(shard)]
    counts = count_of(len(samples), "sample"), count_of(len(shards), "WebDataset shard")
    LOGGER.info("Read %s of %s.", *counts)
    if not samples:
        raise DataError(f"{root} has no samples: name the files in it like 0001.jpg and 0001.txt.")
    shard_splits = _splits(shards, root)
    split = ["split"] if any(shard_splits.values()) else []
    names, repeated = columns_of(samples)
    given = [name for name in repeated if name in (columns or {}).values()]
    table = Table(
        tuple(dict.fromkeys([*names, *given, *split])),
        lambda: (),  # names suffice to tell members apart
        lambda names: _rows(samples, shard_splits, names or {}, root),
    )
    place = ImageFolder(images or (root if root.is_dir() else root.parent))
    return corpus_of_table(table, str(root), place, columns, splits, options)


def _rows(
    samples: Sequence[Sample],
    splits: Mapping[StoredFile, str | None],
    names: Mapping[str, str],
    root: Path,
) -> Iterator[Row]:
    repeated = len({sample.key for sample in samples}) < len(samples)
    if repeated:
        LOGGER.info("Some keys occur in two shards, so ids are made of shard and key.")
    errors = RowErrors(str(root))
    for sample in samples:
        with errors.collect():
            row = row_of(sample, names)
            cells = {"split": splits[sample.shard]} | dict(row.cells)
            if repeated:
                cells["id"] = f"{sample.shard.name.removesuffix('.tar')}/{sample.key}"
            yield Row(cells, row.number, row.where)
    errors.require_none()


def _splits(shards: Sequence[StoredFile], root: Path) -> dict[StoredFile, str | None]:
    """Return the split that each shard's path names: all name one, or none does."""
    splits = {shard: _split(shard.name) for shard in shards}
    unnamed = [shard.path for shard, split in splits.items() if split is None]
    if 0 < len(unnamed) < len(shards):
        raise DataError(
            f"Some shards of {root} have their split (train, dev or test) in their name, and "
            f"others, such as {unnamed[0]}, do not: rename them, or choose shards with a pattern "
            "such as 'train-*.tar'."
        )
    if set(splits.values()) == {"train"}:  # usual for datasets without splits
        return dict.fromkeys(shards)
    return splits


def _split(name: str) -> str | None:
    """Return the split that a folder or the first word of a shard's name means."""
    words = [match[0].lower() for word in name.split("/") if (match := WORD.match(word))]
    return next((WORDS[word] for word in words if word in WORDS), None)


def read_samples(shard: StoredFile) -> Iterator[Sample]:
    """Yield the samples of a shard in their order, grouped as the library WebDataset does.

    Members without a dot in their name and those of WebDataset itself (``__name__``) are left out,
    and so are hidden ones and those of ``__MACOSX``, which are counted in the log.

    Raises:
        DataError: The tar file is incomplete, a name occurs twice, or the members of a sample are
            not adjacent.
    """
    group_by_keys = _library()
    seen: set[str] = set()
    hidden: list[str] = []
    try:
        for number, found in enumerate(group_by_keys(_files(shard, hidden)), start=1):
            key = found.pop("__key__")
            if key in seen:
                raise DataError(
                    f"{shard.path}: the files of sample {key!r} are not next to each other: write "
                    "the tar file again with tar --sort=name."
                )
            seen.add(key)
            del found["__url__"]
            yield Sample(shard, number, key, found)
    except ValueError as error:
        twice = str(error.args[0]).partition(": duplicate")[0]
        raise DataError(
            f"{shard.path} has two files called {twice}: remove one of them."
        ) from error
    if hidden:
        count = count_of(len(hidden), "hidden member is", "hidden members are")
        LOGGER.info("%s: %s not read, such as %s.", shard.path, count, hidden[0])


def _files(shard: StoredFile, hidden: list[str]) -> Iterator[dict[str, Any]]:
    """Yield members in the form of the library WebDataset, and append the names of hidden ones."""
    for member in read_members(shard):
        name = member.name.removeprefix("./")
        *folders, last = name.split("/")
        if last.startswith(".") or not set(NOT_DATA).isdisjoint(folders):
            hidden.append(name)
        elif not META.match(member.name):
            yield {"fname": name, "data": member, "__url__": shard.path}


def columns_of(samples: Sequence[Sample]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the columns that `row_of` gives the first samples; none for none.

    Returns:
        Those to choose from, and those that repeat the text, the label or the image, such as
        ``txt``.
    """
    columns: dict[str, None] = {}
    repeated: dict[str, None] = {}
    for sample in samples[:SAMPLE_ROWS]:
        cells = row_of(sample, {"text": "text", "image": ""}).cells
        taken = _taken(sample, cells)
        repeated |= dict.fromkeys(taken)
        columns |= dict.fromkeys(name for name in cells if name not in taken)
        columns |= dict.fromkeys(["image"] if _images(sample) else [])
    return tuple(columns), tuple(name for name in repeated if name not in columns)


def _taken(sample: Sample, cells: Mapping[str, Any]) -> list[str]:
    """Return the columns whose cell is also that of the column text, label or image."""
    images = _images(sample)
    texts = [
        suffix
        for suffix, column in TEXT_SUFFIXES.items()
        if suffix in sample.members and column not in sample.members
    ]
    if "caption" in cells and cells["text"] is cells["caption"]:
        texts.append("caption")
    return [*(images if len(images) == 1 else []), *texts]


def row_of(sample: Sample, names: Mapping[str, str]) -> Row:
    """Return a sample as a row, with its texts read and a reference to its image.

    Its columns are the fields of its ``json`` member, its other members by the part of their name
    after the dot, and ``id`` (the key), ``text`` (the member ``text`` or ``txt``, else the
    field ``text``, else ``caption``), ``label`` (the member ``label`` or ``cls``, else the field)
    and ``image``. A member that is neither an image nor one of `TEXTS` is read as text if
    it is in `names`.

    Args:
        sample: A sample of a shard.
        names: Our name of each column -> its name in the file.

    Raises:
        DataError: It has several images, and `names` selects none.
    """
    where = f"{sample.shard.path}, sample {sample.key}"
    cells = _fields(sample, names)
    texts = {theirs for ours, theirs in names.items() if ours != "image"}
    for suffix, member in sample.members.items():
        kind = suffix.rpartition(".")[2]
        if kind not in IMAGE_SUFFIXES and (kind in TEXTS or suffix in texts):
            cells[suffix] = _text(member)
        elif suffix != "json":
            cells[suffix] = member
    for suffix, column in TEXT_SUFFIXES.items():
        if suffix in sample.members and column not in sample.members:
            cells[column] = cells[suffix]
    if "caption" in cells:
        cells.setdefault("text", cells["caption"])
    image = _image(sample, where) if names.get("image") == "image" else None
    if image is not None:
        cells["image"] = image
    return Row({**cells, "id": sample.key}, sample.number, where)


def _library() -> Any:
    try:
        from webdataset.tariterators import group_by_keys
    except ImportError as error:
        raise needs_extra("A WebDataset shard", "webdataset") from error
    return group_by_keys


def _fields(sample: Sample, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of the JSON member; all requested cells are unreadable if it is damaged."""
    if "json" not in sample.members:
        return {}
    try:
        fields = json.loads(_content(sample.members["json"]).decode("utf-8-sig"))
        if not isinstance(fields, dict):
            raise ValueError("it is not an object")
    except (ValueError, RecursionError) as error:
        unreadable = UnreadableCell(f"its .json is not valid ({reason_of(error)}): fix it")
        return dict.fromkeys(names.values(), unreadable)
    return fields


def _text(member: TarMember) -> str | UnreadableCell:
    try:
        return _content(member).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return UnreadableCell(f"byte {error.start} of {member.name} is not UTF-8")


def _content(member: TarMember) -> bytes:
    try:
        return member.read()
    except BadImageError as error:
        raise DataError(str(error)) from error


def _image(sample: Sample, where: str) -> TarMember | None:
    """Return the only image of a sample, preferring one without a further suffix."""
    plain = _images(sample)
    if len(plain) > 1:
        raise DataError(
            f"{where} has the images {' and '.join(plain)}: choose one with --columns "
            f"image={plain[0]}."
        )
    return sample.members[plain[0]] if plain else None


def _images(sample: Sample) -> list[str]:
    """Return candidates for the image; those with a further suffix only if there is no other."""
    suffixes = [name for name in sample.members if name.rpartition(".")[2] in IMAGE_SUFFIXES]
    return [name for name in suffixes if name in IMAGE_SUFFIXES] or suffixes


class TarRows(RowFile):
    """A shard of a WebDataset as rows of posts, all in one group.

    Args:
        file: The tar file, whose members are listed immediately.

    Raises:
        DataError: The file is not a valid shard.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._version = version_of(file)
        self._samples = list(read_samples(file))
        self.rows_of_groups = (len(self._samples),)
        # Columns of the first samples, as text, without those that repeat the text or the image.
        names, self.repeated_columns = columns_of(self._samples)
        self.schema = pa.schema([pa.field(name, pa.string()) for name in names])

    def sample(self) -> Iterable[Mapping[str, Any]]:
        """Return nothing: names suffice to tell members apart."""
        return ()

    @property
    def digest(self) -> str:
        """Digest of the names, offsets and sizes of all members."""
        digest = hashlib.blake2b(digest_size=16)
        for sample in self._samples:
            for member in sample.members.values():
                digest.update(repr((member.name, member.offset, member.size_bytes)).encode())
        return digest.hexdigest()

    def read(
        self,
        row_groups: Sequence[int],
        first_row: int,
        names: Mapping[str, str],
        kept: Collection[str] = (),
    ) -> Iterator[tuple[Sequence[Row], pa.RecordBatch]]:
        """Yield the samples of the shard as rows; see `RowFile.batches`."""
        columns = [name for name in self.schema.names if name in kept]
        schema = pa.schema([self.schema.field(name) for name in columns])
        for start in range(0, len(self._samples), SAMPLES_AT_ONCE):
            chunk = self._samples[start : start + SAMPLES_AT_ONCE]
            rows = [row_of(sample, names) for sample in chunk]
            arrays = [pa.array([_kept(row, name) for row in rows], pa.string()) for name in columns]
            yield rows, pa.record_batch(arrays, schema)
        if version_of(self._file) != self._version:
            raise DataError(
                f"{self._file.path} was changed while the job ran: put the original back, and run "
                "the command again."
            )

    def close(self) -> None:
        """Do nothing: no file is open."""


def _kept(row: Row, column: str) -> str | None:
    """Return a cell as text."""
    cell: Any = row.cells.get(column)
    if cell is None or isinstance(cell, UnreadableCell):
        return None
    if isinstance(cell, TarMember):
        return cell.name
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
