"""The posts that a run learns from and is judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mvcn.config import DataConfig
from mvcn.data import DATASETS
from mvcn.data.sources import posts_of_id_file, read_source
from mvcn.data.splits import stratified_split
from mvcn.data.usable_posts import WITHOUT_CONTENT, lack_of
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus, Post

THREE_WAY = {"train": 0.8, "dev": 0.1, "test": 0.1}
TWO_WAY = {"train": 0.9, "dev": 0.1}
MIN_CLASSES = 2
UNLABELLED = "without a label"


@dataclass(frozen=True, slots=True)
class TrainingPosts:
    """Train and dev posts, their classes, and what the source's own rules removed."""

    train: Sequence[Post]
    dev: Sequence[Post]
    class_names: tuple[str, ...]
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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
        parts = {name: posts_of_id_file(corpus, config.splits, name) for name in TWO_WAY}
    elif any(post.split for post in corpus.posts):
        parts = {name: [p for p in corpus.posts if p.split == name] for name in TWO_WAY}
    else:
        parts = stratified_split(learnable_posts(corpus.posts), THREE_WAY, seed)
    return _training_posts(corpus, parts, corpus.posts)


def _from_two(config: DataConfig, seed: int) -> TrainingPosts:
    train = read_source(config, config.train)
    if config.dev is None:
        return _training_posts(
            train, stratified_split(learnable_posts(train.posts), TWO_WAY, seed), train.posts
        )
    dev = read_source(config, config.dev)
    parts = {"train": train.posts, "dev": dev.posts}
    return _training_posts(train, parts, [*train.posts, *dev.posts])


def _training_posts(
    corpus: Corpus, parts: Mapping[str, Sequence[Post]], read: Sequence[Post]
) -> TrainingPosts:
    """Take out, and count, posts without text and image, and those that wait for a prediction."""
    empty = tuple(post.id for post in read if lack_of(post) is not None)
    waiting = tuple(post.id for post in read if post.label is None and lack_of(post) is None)
    left_out = {WITHOUT_CONTENT: empty, UNLABELLED: waiting}
    removed = {**corpus.removed, **{reason: ids for reason, ids in left_out.items() if ids}}
    return TrainingPosts(
        learnable_posts(parts["train"]), learnable_posts(parts["dev"]), corpus.class_names, removed
    )


def learnable_posts(posts: Sequence[Post]) -> list[Post]:
    """Return the posts that have a label and something to read."""
    return [post for post in posts if post.label is not None and lack_of(post) is None]


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
