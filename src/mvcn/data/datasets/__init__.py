"""Where posts come from: a reader for each kind of dataset, all returning a `Corpus`."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from mvcn.data.formats.rows import TableOptions
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus

__all__ = ["DATASETS", "read_corpus"]

DATASETS: dict[str, str] = {
    "mvsa-single": "mvcn.data.datasets.mvsa:read_mvsa_single",
    "mvsa-multiple": "mvcn.data.datasets.mvsa:read_mvsa_multiple",
    "hfm": "mvcn.data.datasets.hfm:read_hfm",
    "clmlf-json": "mvcn.data.datasets.json_splits:read_clmlf",
    "qmf-jsonl": "mvcn.data.datasets.json_splits:read_qmf",
    "image-folder": "mvcn.data.datasets.image_folder:read_image_folder",
    "hugging-face": "mvcn.data.datasets.hugging_face:read_hugging_face",
    "webdataset": "mvcn.data.datasets.webdataset:read_webdataset",
    "prepared": "mvcn.data.datasets.prepared:read_prepared",
    "table": "mvcn.data.table:read_table",
}
"""Name of a kind of dataset -> module and name of its reader, imported when it is needed.

A reader takes the folder or file and, by keyword, those of the options of `read_corpus` that make
sense for it.
"""

OPTION_OF = {"columns": "--columns", "images": "--images"}


def read_corpus(
    name: str,
    root: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
    text_only: bool = False,
) -> Corpus:
    """Read the posts of the dataset at `root` with the reader called `name`.

    Args:
        name: Key of `DATASETS`.
        root: Folder or file of the dataset.
        splits: Which of ``train``, ``dev``, ``test`` to read; None for all that there are. A
            dataset in files of its own for each reads only those; one without any gives all posts.
        columns: Our name of a column -> the name that it has in the dataset.
        images: Folder of the images, where it is not the one that the dataset implies.
        options: How rows are read, for datasets that have rows.
        text_only: Leave images aside, so that no post has one and none need be there.

    Raises:
        ConfigError: The reader has no use for `columns` or `images`.
        DataError: There is no such reader, or it cannot read what is at `root`.
    """
    if name not in DATASETS:
        raise DataError(f"There is no dataset {name!r}: choose one of {', '.join(DATASETS)}.")
    reader: Callable[..., Corpus] = resolve_name(DATASETS[name])
    known = inspect.signature(reader).parameters
    places: dict[str, Any] = {"columns": columns or None, "images": images}
    useless = [OPTION_OF[key] for key in places if places[key] and key not in known]
    if options is not None and "options" not in known:
        useless += options.given
    if useless:
        raise ConfigError(
            f"Dataset '{name}' has its own layout: leave out {' and '.join(useless)}."
        )
    if text_only and "columns" in known:
        places["columns"] = {**(columns or {}), "image": ""}
    everything = places | {"splits": splits, "options": options, "text_only": text_only or None}
    given = {key: value for key, value in everything.items() if value is not None and key in known}
    corpus = reader(root, **given)
    return _without_images(corpus) if text_only else corpus


def _without_images(corpus: Corpus) -> Corpus:
    posts = [replace(post, image=None) for post in corpus.posts]
    return replace(corpus, posts=posts, faulty_images={}, missing_images=())
