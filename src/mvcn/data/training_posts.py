"""The posts that a run learns from and is judged by."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvcn.config import DataConfig
from mvcn.data import DATASETS, read_corpus
from mvcn.data.splits import read_ids, select_posts, stratified_split
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus, Post

THREE_WAY = {"train": 0.8, "dev": 0.1, "test": 0.1}
TWO_WAY = {"train": 0.9, "dev": 0.1}
MIN_CLASSES = 2


@dataclass(frozen=True, slots=True)
class TrainingPosts:
    """Train and dev posts, their classes, and what the source's own rules removed."""

    train: Sequence[Post]
    dev: Sequence[Post]
    class_names: tuple[str, ...]
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_training_posts(config: DataConfig, seed: int) -> TrainingPosts:
    """Read train and dev posts as the settings say.

    Splits come from id files, else from a stratified split by `seed`: 8:1:1 of a data set (whose
    test part is left alone), 9:1 of a training table without a dev table.

    Raises:
        ConfigError: A setting is missing.
        DataError: A file cannot be read as what it should be.
    """
    posts = _from_tables(config, seed) if config.name == "table" else _from_data_set(config, seed)
    _require_learnable(posts)
    return posts


def _from_data_set(config: DataConfig, seed: int) -> TrainingPosts:
    if config.name not in DATASETS:
        raise ConfigError(
            f"No data set is called '{config.name}': choose from {', '.join(DATASETS)}."
        )
    corpus = read_corpus(config.name, _required(config.root, "data.root (--root)", config.name))
    if config.splits is None:
        parts = stratified_split(corpus.posts, THREE_WAY, seed)
    else:
        parts = {name: _from_ids(corpus, config.splits / f"{name}.txt") for name in TWO_WAY}
    return TrainingPosts(parts["train"], parts["dev"], corpus.class_names, corpus.removed)


def fingerprint(posts: Iterable[Post]) -> str:
    """Return a digest of the posts' ids, texts and labels, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for post in posts:
        fields = (post.id, post.text, post.label, post.text_label, post.image_label)
        digest.update(repr(fields).encode())
    return digest.hexdigest()


def _from_tables(config: DataConfig, seed: int) -> TrainingPosts:
    train = read_corpus("table", _required(config.train, "data.train (--train)", "table"))
    if config.dev is not None:
        dev = read_corpus("table", config.dev)
        return TrainingPosts(train.posts, dev.posts, train.class_names, train.removed)
    parts = stratified_split(train.posts, TWO_WAY, seed)
    return TrainingPosts(parts["train"], parts["dev"], train.class_names, train.removed)


def _from_ids(corpus: Corpus, path: Path) -> list[Post]:
    return select_posts(corpus, read_ids(path), str(path))


def _require_learnable(posts: TrainingPosts) -> None:
    if len(posts.class_names) < MIN_CLASSES:
        found = ", ".join(posts.class_names) or "no label"
        raise DataError(
            f"A classifier needs at least two classes; the training posts have {found}."
        )
    if not posts.dev:
        raise DataError(
            f"The {len(posts.train)} training posts are too few to take dev posts from: "
            "give more, or dev posts of their own (--dev)."
        )


def _required(path: Path | None, setting: str, name: str) -> Path:
    if path is None:
        raise ConfigError(f"Data set '{name}' needs the setting {setting}.")
    return path
