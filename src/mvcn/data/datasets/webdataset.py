"""Datasets of WebDataset: tar files whose members share a name for each post."""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from mvcn.data.formats.rows import Row, Table, TableOptions
from mvcn.data.formats.webdataset import Sample, columns_of, read_samples, row_of
from mvcn.data.image_files import ImageFolder
from mvcn.data.split_names import WORDS
from mvcn.data.stored_files import TAR_SUFFIXES, StoredFile, find_files
from mvcn.data.table import corpus_of_table
from mvcn.errors import DataError
from mvcn.types import Corpus

LOGGER = logging.getLogger(__name__)

WORD = re.compile(r"[A-Za-z]+")


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
    other fields and members are columns as those of a table. Texts are read at once, images when
    they are needed. A post's id is its key, or ``shard/key`` for all posts where two shards have
    the same key. A shard called by a split (``train-0001.tar``, ``val/0001.tar``) belongs to it,
    unless a field ``split`` says otherwise.

    Args:
        root: A tar file, a folder of them, or a pattern such as ``shards/{00000..00010}.tar``.
        splits: Which of ``train``, ``dev``, ``test`` to read, where there are such.
        columns: Our name of a column -> a field, or what follows the first dot of a member's name.
        images: What image paths in a field are relative to, and must stay inside.
        options: How rows are read.

    Raises:
        ConfigError: `columns` names a column that is not one of ours, or one of theirs twice.
        DataError: The library is not installed, or a shard is damaged; names shard and member.
    """
    shards = find_files([str(root)], TAR_SUFFIXES, "tar file")
    samples = [sample for shard in shards for sample in read_samples(shard)]
    LOGGER.info("Read %d sample(s) of %d WebDataset shard(s).", len(samples), len(shards))
    if not samples:
        raise DataError(f"{root} has no samples: its members need names such as 0001.jpg.")
    shard_splits = _splits(shards, root)
    split = ["split"] if any(shard_splits.values()) else []
    names, repeated = columns_of(samples)
    given = [name for name in repeated if name in (columns or {}).values()]
    table = Table(
        tuple(dict.fromkeys([*names, *given, *split])),
        lambda: (),  # what a member is, its name tells
        lambda names: _rows(samples, shard_splits, names or {}),
    )
    place = ImageFolder(images or (root if root.is_dir() else root.parent))
    return corpus_of_table(table, str(root), place, columns, splits, options)


def _rows(
    samples: Sequence[Sample], splits: Mapping[StoredFile, str | None], names: Mapping[str, str]
) -> Iterator[Row]:
    repeated = len({sample.key for sample in samples}) < len(samples)
    if repeated:
        LOGGER.info("Keys are found in two shards: ids are made of shard and key.")
    for sample in samples:
        row = row_of(sample, names)
        cells = {"split": splits[sample.shard]} | dict(row.cells)
        if repeated:
            cells["id"] = f"{sample.shard.name.removesuffix('.tar')}/{sample.key}"
        yield Row(cells, row.number, row.where)


def _splits(shards: Sequence[StoredFile], root: Path) -> dict[StoredFile, str | None]:
    """Return the split that each shard's path names: all name one, or none does."""
    splits = {shard: _split(shard.name) for shard in shards}
    unnamed = [shard.path for shard, split in splits.items() if split is None]
    if 0 < len(unnamed) < len(shards):
        raise DataError(
            f"{root} has shards that name their split (train, dev or test) and others that do not, "
            f"such as {unnamed[0]}: rename them, or choose shards by a pattern such as "
            "'train-*.tar'."
        )
    if set(splits.values()) == {"train"}:  # as datasets without splits are called
        return dict.fromkeys(shards)
    return splits


def _split(name: str) -> str | None:
    """Return the split that a folder or the first word of a shard's name means."""
    words = [match[0].lower() for word in name.split("/") if (match := WORD.match(word))]
    return next((WORDS[word] for word in words if word in WORDS), None)
