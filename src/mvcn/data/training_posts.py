"""The posts that a run learns from and is judged by."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mvcn.config import DataConfig
from mvcn.data.bad_images import WITHOUT_CONTENT, missing_input
from mvcn.data.datasets import DATASETS
from mvcn.data.sources import id_files, posts_of_id_file, read_source
from mvcn.data.splits import stratified_split
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus, Post

logger = logging.getLogger(__name__)

THREE_WAY = {"train": 0.8, "dev": 0.1, "test": 0.1}
TWO_WAY = {"train": 0.9, "dev": 0.1}
MIN_CLASSES = 2
UNLABELLED = "without a label"
NO_LIST = "in none of the lists of ids"


@dataclass(frozen=True, slots=True)
class TrainingPosts:
    """Train and dev posts, their classes, and what is not used."""

    train: Sequence[Post]
    dev: Sequence[Post]
    class_names: tuple[str, ...]
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Reason -> ids of the posts that are left out, by the source's own rules among others."""
    unused_parts: Mapping[str, int] = field(default_factory=dict)
    """Part that is not trained on or chosen by -> how many posts it has."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> its name in the source, where posts were read from columns."""


def read_training_posts(config: DataConfig, seed: int) -> TrainingPosts:
    """Read train and dev posts as the settings say.

    Either `train` and `dev` name a source each (without `dev`, a tenth of `train` is taken), or
    the parts of `root` come from id files, else from the source itself, else from a stratified
    8:1:1 split by `seed`, whose test part is left alone.

    Raises:
        ConfigError: A setting is missing.
        DataError: A file cannot be read as what it should be.
    """
    if config.name not in DATASETS:
        raise ConfigError(
            f"No data set is called '{config.name}': choose from {', '.join(DATASETS)}."
        )
    posts = _from_one_source(config, seed) if config.train is None else _from_two(config, seed)
    _require_learnable(posts)
    return posts


def _from_one_source(config: DataConfig, seed: int) -> TrainingPosts:
    if config.root is None:
        raise ConfigError(
            f"Data set '{config.name}' needs data.root (--root) or data.train (--train)."
        )
    corpus = read_source(config, config.root, tuple(TWO_WAY))
    if config.splits is not None:
        return _by_id_files(corpus, config.splits)
    if corpus.other_parts or any(post.split for post in corpus.posts):
        parts = {name: [p for p in corpus.posts if p.split == name] for name in TWO_WAY}
        _require_parts(parts, corpus.other_parts, config.root)
    else:
        parts = stratified_split(learnable_posts(corpus.posts), THREE_WAY, seed)
    unused = Counter({name: len(part) for name, part in parts.items() if name not in TWO_WAY})
    return _training_posts(corpus, parts, corpus.posts, unused + Counter(corpus.other_parts))


def _by_id_files(corpus: Corpus, folder: Path) -> TrainingPosts:
    """Return the posts that lists of ids name; those that none names are left out."""
    parts = {name: posts_of_id_file(corpus, folder, name) for name in TWO_WAY}
    others = {
        name: posts_of_id_file(corpus, folder, name)
        for name in id_files(folder)
        if name not in TWO_WAY
    }
    unused = {post.id for part in others.values() for post in part}
    named = unused.union(post.id for part in parts.values() for post in part)
    rest = tuple(post.id for post in learnable_posts(corpus.posts) if post.id not in named)
    if rest:
        corpus = replace(corpus, removed={**corpus.removed, NO_LIST: rest})
    read = [post for post in corpus.posts if post.id not in unused]
    return _training_posts(corpus, parts, read, {name: len(part) for name, part in others.items()})


def _require_parts(
    parts: Mapping[str, Sequence[Post]], others: Mapping[str, int], root: Path
) -> None:
    missing = [name for name, part in parts.items() if not part]
    if missing:
        counts = {name: len(part) for name, part in parts.items() if part} | dict(others)
        there = " and ".join(f"{count} posts of the part {name}" for name, count in counts.items())
        raise DataError(
            f"{root} has no posts of the part {missing[0]}, only {there}: make lists of ids by "
            "mvcn split, and give their folder (--splits)."
        )


def _from_two(config: DataConfig, seed: int) -> TrainingPosts:
    train = read_source(config, config.train)
    _warn_of_parts(train, "train", config.train)
    if config.dev is None:
        return _training_posts(
            train, stratified_split(learnable_posts(train.posts), TWO_WAY, seed), train.posts
        )
    dev = read_source(config, config.dev)
    _warn_of_parts(dev, "dev", config.dev)
    parts = {"train": train.posts, "dev": dev.posts}
    return _training_posts(train, parts, [*train.posts, *dev.posts])


def _warn_of_parts(corpus: Corpus, part: str, path: Path | None) -> None:
    """Log how many posts of a file that was given for one part say that they are of another."""
    others = Counter(post.split for post in corpus.posts if post.split not in (part, None))
    if others:
        counts = ", ".join(f"{count} of the part {name}" for name, count in others.items())
        logger.warning(
            "%s was given by --%s, so all of its posts are, though it says that it has %s: give it "
            "by --root to use its parts.",
            *(path, part, counts),
        )


def _training_posts(
    corpus: Corpus,
    parts: Mapping[str, Sequence[Post]],
    read: Sequence[Post],
    unused: Mapping[str, int] | None = None,
) -> TrainingPosts:
    """Take out, and count, posts without text and image, and those that wait for a prediction."""
    empty = tuple(post.id for post in read if missing_input(post) is not None)
    waiting = tuple(post.id for post in read if post.label is None and missing_input(post) is None)
    left_out = {WITHOUT_CONTENT: empty, UNLABELLED: waiting}
    removed = {**corpus.removed, **{reason: ids for reason, ids in left_out.items() if ids}}
    train, dev = (learnable_posts(parts[name]) for name in TWO_WAY)
    parts_left = dict(unused or {})
    return TrainingPosts(train, dev, corpus.class_names, removed, parts_left, corpus.columns)


def learnable_posts(posts: Sequence[Post]) -> list[Post]:
    """Return the posts that have a label and something to read."""
    return [post for post in posts if post.label is not None and missing_input(post) is None]


def _require_learnable(posts: TrainingPosts) -> None:
    if len(posts.class_names) < MIN_CLASSES:
        found = ", ".join(posts.class_names) or "no label"
        is_unknown = posts.columns and "label" not in posts.columns
        hint = ": name the column of the labels by --columns label=..." if is_unknown else ""
        raise DataError(
            f"A classifier needs at least two classes; the training posts have {found}{hint}."
        )
    if not posts.dev:
        raise DataError(
            f"The {len(posts.train)} training posts are too few to take dev posts from: "
            "give more, or dev posts of their own (--dev)."
        )
