"""The posts that settings name: all of a source, or one split of it."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from mvcn.config import DataConfig
from mvcn.data.bad_images import warn_of_missing_images
from mvcn.data.datasets import read_corpus
from mvcn.data.formats.rows import TableOptions
from mvcn.data.parts import PARTS, part_files, part_of
from mvcn.data.splits import read_ids, require_made_for, select_posts
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus, Post

_logger = logging.getLogger(__name__)


def read_posts(
    config: DataConfig,
    split: str | None = None,
    *,
    labels: bool = True,
    remembered: Mapping[str, str] | None = None,
) -> Corpus:
    """Read the source at `config.root`, or one split of it, by id files or by the source's own.

    Args:
        config: Settings.
        split: Name of a part; ``validation`` and the like mean ``dev``. None for all posts.
        labels: Whether labels and annotations are read, too.
        remembered: See `read_source`.

    Raises:
        ConfigError: No root is given.
        DataError: A file cannot be read as what it should be, or there is no such split.
    """
    if split is None:
        return read_source(config, config.root, labels=labels, remembered=remembered)
    if config.splits is None or not (config.splits / f"{split}.txt").is_file():
        split = part_of(split) or split
    corpus = read_source(config, config.root, [split], labels=labels, remembered=remembered)
    posts = corpus.posts
    if config.splits is not None:
        posts = posts_of_id_file(corpus, config.splits, split)
    else:
        posts = [post for post in posts if post.split == split]
    if not posts:
        raise DataError(
            f"{config.root} does not say which posts are its '{split}' part: give a folder with "
            f"{split}.txt (--splits), as mvcn split writes it."
        )
    return replace(corpus, posts=posts)


def read_all(config: DataConfig) -> Corpus:
    """Read the whole source at `config.root`; id files, where there are some, set the parts.

    Posts of a part then come in the order of its file, and last those that no file names.

    Raises:
        ConfigError: No root is given.
        DataError: A file cannot be read as what it should be, or a post is in two parts.
    """
    corpus = read_source(config, config.root)
    if config.splits is None:
        return corpus
    placed: dict[str, Post] = {}
    for part in id_files(config.splits):
        for post in posts_of_id_file(corpus, config.splits, part):
            if post.id in placed:
                raise DataError(
                    f"{config.splits}: post {post.id} is in {placed[post.id].split}.txt and in "
                    f"{part}.txt: delete one of them."
                )
            placed[post.id] = replace(post, split=part)
    if not placed:
        raise DataError(f"{config.splits} has none of train.txt, dev.txt, test.txt: name another.")
    rest = [replace(post, split=None) for post in corpus.posts if post.id not in placed]
    return replace(corpus, posts=[*placed.values(), *rest])


def read_source(
    config: DataConfig,
    root: Path | None,
    splits: Collection[str] | None = None,
    *,
    labels: bool = True,
    remembered: Mapping[str, str] | None = None,
) -> Corpus:
    """Read the source at `root` with the reader and the options that the settings name.

    A warning says where images are missing.

    Args:
        config: Settings.
        root: Folder or file of the source.
        splits: The parts that are wanted; see `read_corpus`.
        labels: Whether labels and annotations are read, too.
        remembered: Our name of a column -> its name in the files that a model was trained on, to
            be read again where a file has it.

    Raises:
        ConfigError: No root is given.
        DataError: A file cannot be read as what it should be, or the source knows its images by
            their id alone and holds none.
    """
    if root is None:
        raise ConfigError(f"Data set '{config.name}' needs the setting data.root (--root).")
    wanted = None if config.splits is not None else splits
    options = table_options(config, labels=labels, remembered=remembered)
    corpus = read_corpus(
        config.name,
        root,
        splits=wanted,
        columns=config.columns,
        images=config.images,
        options=options,
        text_only=config.text_only,
    )
    if not config.text_only:
        warn_of_missing_images(corpus, root)
    return corpus


def table_options(
    config: DataConfig, *, labels: bool = True, remembered: Mapping[str, str] | None = None
) -> TableOptions:
    """Return how rows are read, as the settings say; see `read_source`."""
    return TableOptions(
        config.encoding,
        config.quoting,
        config.sheet,
        config.normalize_labels,
        labels,
        remembered or {},
    )


def posts_of_id_file(corpus: Corpus, folder: Path, split: str) -> list[Post]:
    """Return the posts that ``<split>.txt`` in `folder` names, in its order.

    The list of one of our parts can be called by any name that `part_of` knows.

    Raises:
        DataError: No such list of ids, or it was made for other posts than those of the corpus.
    """
    require_made_for(folder, corpus.posts)
    path = folder / f"{split}.txt"
    paths = id_files(folder).get(split, [path]) if split in PARTS else [path]
    return [post for path in paths for post in select_posts(corpus, read_ids(path), str(path))]


def id_files(folder: Path) -> dict[str, list[Path]]:
    """Return part -> its lists of ids in a folder, in the order train, dev, test.

    Raises:
        DataError: Two lists mean one part; see `group_by_part`.
    """
    files, others = part_files(folder, ".txt")
    for path in others:
        _logger.info("%s is none of train, dev and test, so it is not read.", path)
    return files
