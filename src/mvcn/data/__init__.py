"""Where posts come from: a reader for each kind of source, all returning a `Corpus`."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mvcn.data.clmlf import read_clmlf
from mvcn.data.formats.rows import TableOptions
from mvcn.data.hfm import read_hfm
from mvcn.data.hugging_face import read_hugging_face
from mvcn.data.image_folder import read_image_folder
from mvcn.data.mvsa import read_mvsa_multiple, read_mvsa_single
from mvcn.data.prepared import read_prepared
from mvcn.data.qmf import read_qmf
from mvcn.data.table import read_table
from mvcn.data.webdataset import read_webdataset
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus

__all__ = ["DATASETS", "read_corpus"]

DATASETS: dict[str, Callable[..., Corpus]] = {
    "mvsa-single": read_mvsa_single,
    "mvsa-multiple": read_mvsa_multiple,
    "hfm": read_hfm,
    "clmlf-json": read_clmlf,
    "qmf-jsonl": read_qmf,
    "image-folder": read_image_folder,
    "hugging-face": read_hugging_face,
    "webdataset": read_webdataset,
    "prepared": read_prepared,
    "table": read_table,
}
"""Name of a kind of source -> what reads one from a folder or file.

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
    """Read the posts of the source at `root` with the reader called `name`.

    Args:
        name: Key of `DATASETS`.
        root: Folder or file of the source.
        splits: Which of ``train``, ``dev``, ``test`` are wanted; None for all that there are. A
            source in files of its own for each reads only those; one without any gives all posts.
        columns: Our name of a column -> the name that it has in the source.
        images: Folder of the images, where it is not the one that the source implies.
        options: How rows are read, for sources that have rows.
        text_only: Leave images aside, so that no post has one and none need be there.

    Raises:
        ConfigError: The reader has no use for `columns` or `images`.
        DataError: There is no such reader, or it cannot read what is at `root`.
    """
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}: choose one of {', '.join(DATASETS)}.")
    reader = DATASETS[name]
    known = inspect.signature(reader).parameters
    places: dict[str, Any] = {"columns": columns or None, "images": images}
    useless = [OPTION_OF[key] for key in places if places[key] and key not in known]
    if text_only and "columns" in known:
        places["columns"] = {**(columns or {}), "image": ""}
    if options is not None and "options" not in known:
        useless += options.given
    if useless:
        raise ConfigError(
            f"Data set '{name}' has its own layout: leave out {' and '.join(useless)}."
        )
    everything = places | {
        "splits": splits,
        "options": options,
        "text_only": text_only or None,
    }
    given = {key: value for key, value in everything.items() if value is not None and key in known}
    corpus = reader(root, **given)
    return _without_images(corpus) if text_only else corpus


def _without_images(corpus: Corpus) -> Corpus:
    posts = [replace(post, image=None) for post in corpus.posts]
    return replace(corpus, posts=posts, faulty_images={}, missing_images=())
