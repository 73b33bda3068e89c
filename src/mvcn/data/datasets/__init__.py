"""Readers of datasets, one for each kind, all returning a `Corpus`."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from mvcn.errors import ConfigError, DataError, which_of
from mvcn.plugins import available, find_plugin
from mvcn.types import Corpus

if TYPE_CHECKING:
    from mvcn.data.formats.rows import TableOptions

__all__ = ["DATASETS", "known_datasets", "read_corpus"]

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
"""Name of a kind of dataset -> module and name of its reader, imported on first use.

A reader takes the folder or file and, by keyword, those options of `read_corpus` that apply to it.
"""

OPTION_OF = {"columns": "--columns", "images": "--images"}


def read_corpus(
    name: str,
    root: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    options: "TableOptions | None" = None,
    text_only: bool = False,
) -> Corpus:
    """Read the posts of the dataset at `root` with the reader called `name`.

    Args:
        name: Key of `DATASETS`, or the name of a plug-in's reader.
        root: Folder or file of the dataset.
        splits: Which of ``train``, ``dev``, ``test`` to read; None for all. Of a dataset with a
            file for each split, only those files are read; one without splits gives all posts.
        columns: Our name of a column -> its name in the dataset.
        images: Folder of the images; None for the usual one of the dataset.
        options: How rows are read, for datasets that have rows.
        text_only: Ignore images, so that no post has one and no image file is needed.

    Raises:
        ConfigError: The reader takes no `columns` or `images`, or is of a plug-in that has the name
            of another or cannot be imported.
        DataError: There is no such reader, or `root` is not such a dataset.
    """
    reader = _reader(name)
    known = inspect.signature(reader).parameters
    places: dict[str, Any] = {"columns": columns or None, "images": images}
    unused = [OPTION_OF[key] for key in places if places[key] and key not in known]
    if options is not None and "options" not in known:
        unused += options.given
    if unused:
        raise ConfigError(f"--data {name} has a fixed layout: leave out {' and '.join(unused)}.")
    if text_only and "columns" in known:
        places["columns"] = {**(columns or {}), "image": ""}
    everything = places | {"splits": splits, "options": options, "text_only": text_only or None}
    given = {key: value for key, value in everything.items() if value is not None and key in known}
    corpus = reader(root, **given)
    if not isinstance(corpus, Corpus):
        raise DataError(
            f"The reader of dataset '{name}' returned {type(corpus).__name__}: have it return a "
            "mvcn.types.Corpus."
        )
    return _without_images(corpus) if text_only else corpus


def known_datasets() -> list[str]:
    """Return the names of all datasets, those of plug-ins last.

    Raises:
        PluginError: A module that the user named cannot be imported.
    """
    return [*DATASETS, *(one.name for one in available("dataset"))]


def _reader(name: str) -> Callable[..., Any]:
    """Return the reader of that name.

    Raises:
        DataError: There is none.
        PluginError: Two have this name, or that of a plug-in cannot be imported.
    """
    plugin = find_plugin("dataset", name, DATASETS)
    if plugin is None and name not in DATASETS:
        raise DataError(f"There is no dataset {name!r}: {which_of(name, known_datasets())}")
    reader: Callable[..., Any] = resolve_name(DATASETS[name]) if plugin is None else plugin.load()
    return reader


def _without_images(corpus: Corpus) -> Corpus:
    posts = [replace(post, image=None) for post in corpus.posts]
    return replace(corpus, posts=posts, faulty_images={}, missing_images=())
