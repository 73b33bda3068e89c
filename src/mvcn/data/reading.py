"""Reading the posts that settings name: a dataset, one of its splits, or training posts."""

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mvcn.config import DataConfig
from mvcn.data.bad_images import WITHOUT_CONTENT, missing_input, warn_of_missing_images
from mvcn.data.datasets import known_datasets, read_corpus
from mvcn.data.formats.rows import TableOptions
from mvcn.data.published_folds import read_fold, with_fold
from mvcn.data.split_names import keep_splits, split_of
from mvcn.data.splits import id_files, posts_of_id_file, stratified_split
from mvcn.errors import ConfigError, DataError, which_of
from mvcn.types import Corpus, Post

LOGGER = logging.getLogger(__name__)

TWO_WAY = {"train": 0.9, "dev": 0.1}
MIN_CLASSES = 2
FEW_CLASSES = 10
"""Classes that may have few posts each; of more, most have two at least."""
UNLABELLED = "without a label"
NO_LIST = "in none of the lists of ids"
NOT_DRAWN = "not drawn (data.limit)"
DRAWS = 1000
"""Distance between the seeds of two draws of as many posts."""


def read_dataset(
    config: DataConfig,
    root: Path | None,
    splits: Collection[str] | None = None,
    *,
    labels: bool = True,
    remembered: Mapping[str, str] | None = None,
) -> Corpus:
    """Read the dataset at `root` with the reader and options of the settings.

    A published fold, if one is named, gives the posts, their labels and splits. A warning is logged
    if images are missing.

    Args:
        config: Settings.
        root: Folder or file of the dataset.
        splits: The requested splits; see `read_corpus`.
        labels: Whether labels and annotations are read.
        remembered: Our name of a column -> its name in the files that a model was trained on, used
            if the file has it.

    Raises:
        ConfigError: No root is given, or a fold without published folds, or these without a fold.
        DataError: A file is invalid, or the dataset finds images by post id and contains none.
    """
    if root is None:
        raise ConfigError(
            "No posts are named: add their file or folder, as in mvcn audit posts.csv, or pass it "
            "with --root (data.root)."
        )
    fold = read_fold(config.splits, config.fold)
    corpus = read_corpus(
        config.name,
        root,
        splits=None if config.splits is not None else splits,
        columns=config.columns,
        images=config.images,
        options=table_options(config, labels=labels, remembered=remembered),
        text_only=config.text_only,
    )
    if not config.text_only:
        warn_of_missing_images(corpus, root)
    if fold is None:
        return corpus
    return keep_splits(with_fold(corpus, fold, root), splits, str(fold.folder))


def id_lists(config: DataConfig) -> Path | None:
    """Return the folder of lists of ids; None where the dataset or a published fold has splits."""
    return config.splits if config.fold is None else None


def table_options(
    config: DataConfig, *, labels: bool = True, remembered: Mapping[str, str] | None = None
) -> TableOptions:
    """Return the options for rows of tables from the settings; see `read_dataset`."""
    return TableOptions(
        config.encoding,
        config.quoting,
        config.sheet,
        config.normalize_labels,
        labels,
        remembered or {},
    )


def read_posts(
    config: DataConfig,
    split: str | None = None,
    *,
    labels: bool = True,
    remembered: Mapping[str, str] | None = None,
) -> Corpus:
    """Read the dataset at `config.root`, or one split of it.

    Id files or a published fold, if given, say which posts are in a split, else the dataset itself.

    Args:
        config: Settings.
        split: Name of a split; ``validation`` and the like mean ``dev``. None for all posts.
        labels: Whether labels and annotations are read.
        remembered: See `read_dataset`.

    Raises:
        ConfigError: No root is given.
        DataError: A file is invalid, or there is no such split.
    """
    if split is None:
        return read_dataset(config, config.root, labels=labels, remembered=remembered)
    lists = id_lists(config)
    if lists is None or not (lists / f"{split}.txt").is_file():
        split = split_of(split) or split
    corpus = read_dataset(config, config.root, [split], labels=labels, remembered=remembered)
    if lists is not None:
        posts = posts_of_id_file(corpus, lists, split)
    else:
        posts = [post for post in corpus.posts if post.split == split]
    if not posts:
        raise DataError(
            f"{config.root} does not say which posts are in its '{split}' split: pass a folder "
            f"with {split}.txt, as written by mvcn split, with --splits FOLDER."
        )
    return replace(corpus, posts=posts)


def read_all(config: DataConfig) -> Corpus:
    """Read the complete dataset at `config.root`.

    Id files, if given, determine the splits: posts are then in the order of the files, followed by
    those in no file. A published fold has the posts of its splits alone.

    Raises:
        ConfigError: No root is given.
        DataError: A file is invalid, or a post is in two splits.
    """
    corpus, lists = read_dataset(config, config.root), id_lists(config)
    if lists is None:
        return corpus
    placed: dict[str, Post] = {}
    for split in id_files(lists):
        for post in posts_of_id_file(corpus, lists, split):
            if post.id in placed:
                raise DataError(
                    f"{lists}: post {post.id!r} is in both {placed[post.id].split}.txt and "
                    f"{split}.txt: delete it from one of them."
                )
            placed[post.id] = replace(post, split=split)
    if not placed:
        raise DataError(
            f"{lists} has no train.txt, dev.txt or test.txt: pass the folder that holds them with "
            "--splits FOLDER."
        )
    rest = [replace(post, split=None) for post in corpus.posts if post.id not in placed]
    return replace(corpus, posts=[*placed.values(), *rest])


@dataclass(frozen=True, slots=True)
class TrainingPosts:
    """Train and dev posts, their classes, and the posts not used."""

    train: Sequence[Post]
    dev: Sequence[Post]
    class_names: tuple[str, ...]
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Reason -> ids of the posts that are left out, including those removed by the dataset."""
    unused_splits: Mapping[str, int] = field(default_factory=dict)
    """Name of each other split -> its number of posts."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> its name in the dataset, if it has columns."""


NeedsDev = Callable[[int], bool]
"""Returns whether dev posts are needed, given the number of labelled posts."""


def _always(_: int) -> bool:
    return True


def read_training_posts(
    config: DataConfig, seed: int, needs_dev: NeedsDev = _always
) -> TrainingPosts:
    """Read the train and dev posts of the settings.

    Either `train` and `dev` name a dataset each, or the splits of `root` come from id files or a
    published fold, else from the dataset itself. Where no split is named, all posts are train
    posts, or, if dev posts are needed, a stratified tenth by `seed` is dev.

    Args:
        config: Settings.
        seed: Of the split.
        needs_dev: Whether there must be dev posts; by default always.

    Raises:
        ConfigError: A setting is missing, or two exclude each other.
        DataError: A file is invalid, or there are too few posts or classes.
    """
    if config.name not in (known := known_datasets()):
        raise ConfigError(f"There is no dataset '{config.name}': {which_of(config.name, known)}")
    _require_one_place(config)
    read = _from_root if config.train is None else _from_train_and_dev
    posts = read(config, seed, needs_dev)
    _require_learnable(posts, needs_dev)
    return posts


def draw_training_posts(posts: TrainingPosts, limit: int | None, seed: int) -> TrainingPosts:
    """Return the posts with some of the training posts, drawn at random without replacement.

    Draw d of n posts is ``random.Random(1000 * d + n).sample(train, n)``.

    Args:
        posts: All posts.
        limit: Training posts to draw, n; all are kept if it is None or there are not more.
        seed: Number of the draw, d.
    """
    if limit is not None and limit > len(posts.train):
        LOGGER.warning(
            "data.limit is %d, but there are only %d training posts: all are used.",
            *(limit, len(posts.train)),
        )
    if limit is None or limit >= len(posts.train):
        return posts
    train = random.Random(DRAWS * seed + limit).sample(posts.train, limit)
    drawn = {post.id for post in train}
    rest = tuple(post.id for post in posts.train if post.id not in drawn)
    return replace(posts, train=train, removed={**posts.removed, NOT_DRAWN: rest})


def _require_one_place(config: DataConfig) -> None:
    """Raise a ConfigError for a setting that would be ignored."""
    if config.train is None and config.dev is not None:
        raise ConfigError("--dev needs --train: pass the training posts with --train FILE.")
    if config.train is not None and config.root is not None:
        raise ConfigError("--train and --root are both training posts: leave one of them out.")
    if config.train is not None and config.splits is not None:
        raise ConfigError("--splits only works with --root: leave out --train or --splits.")


def _from_root(config: DataConfig, seed: int, needs_dev: NeedsDev) -> TrainingPosts:
    if config.root is None:
        raise ConfigError(
            f"Dataset '{config.name}' needs posts: pass them with --root PATH (data.root) or "
            "--train PATH (data.train)."
        )
    corpus, lists = read_dataset(config, config.root, tuple(TWO_WAY)), id_lists(config)
    if lists is not None:
        return _by_id_files(corpus, lists, needs_dev)
    if corpus.other_splits or any(post.split for post in corpus.posts):
        splits = {name: [p for p in corpus.posts if p.split == name] for name in TWO_WAY}
        _require_splits(splits, corpus.other_splits, config.root, needs_dev)
    else:
        splits = _new_splits(corpus.posts, seed, needs_dev)
    unused = Counter({name: len(split) for name, split in splits.items() if name not in TWO_WAY})
    return _training_posts(corpus, splits, corpus.posts, unused + Counter(corpus.other_splits))


def _new_splits(posts: Sequence[Post], seed: int, needs_dev: NeedsDev) -> dict[str, list[Post]]:
    """Return the posts to learn from as train posts, and a tenth of them as dev if needed."""
    usable = learnable_posts(posts)
    if needs_dev(len(usable)):
        return stratified_split(usable, TWO_WAY, seed)
    return {"train": usable, "dev": []}


def _by_id_files(corpus: Corpus, folder: Path, needs_dev: NeedsDev) -> TrainingPosts:
    """Return the posts named by lists of ids; the others are left out."""
    train, found = posts_of_id_file(corpus, folder, "train"), id_files(folder)
    required = ["dev"] if needs_dev(len(train)) else []
    others = {
        name: posts_of_id_file(corpus, folder, name) for name in dict.fromkeys([*required, *found])
    }
    splits = {"dev": [], **others, "train": train}
    others = {name: split for name, split in splits.items() if name not in TWO_WAY}
    unused = {post.id for split in others.values() for post in split}
    named = {post.id for split in splits.values() for post in split}
    rest = tuple(post.id for post in learnable_posts(corpus.posts) if post.id not in named)
    if rest:
        corpus = replace(corpus, removed={**corpus.removed, NO_LIST: rest})
    read = [post for post in corpus.posts if post.id not in unused]
    return _training_posts(corpus, splits, read, {name: len(one) for name, one in others.items()})


def _require_splits(
    splits: Mapping[str, Sequence[Post]],
    others: Mapping[str, int],
    root: Path,
    needs_dev: NeedsDev,
) -> None:
    if splits["train"] and not needs_dev(sum(map(len, splits.values()))):
        return
    missing = [name for name, split in splits.items() if not split]
    if missing:
        counts = {name: len(split) for name, split in splits.items() if split} | dict(others)
        there = " and ".join(f"{count} posts of the split {name}" for name, count in counts.items())
        raise DataError(
            f"{root} has no posts of the split {missing[0]}, only {there}: split the posts with "
            "mvcn split, and pass its folder with --splits FOLDER."
        )


def _from_train_and_dev(config: DataConfig, seed: int, needs_dev: NeedsDev) -> TrainingPosts:
    train = _read_as_split(config, config.train, "train")
    if config.dev is None:
        splits = _new_splits(train.posts, seed, needs_dev)
        return _training_posts(train, splits, train.posts)
    dev = _read_as_split(config, config.dev, "dev")
    splits = {"train": list(train.posts), "dev": list(dev.posts)}
    return _training_posts(train, splits, [*train.posts, *dev.posts])


def _read_as_split(config: DataConfig, path: Path | None, split: str) -> Corpus:
    """Read a dataset given for one split, and warn if it assigns posts to other splits."""
    corpus = read_dataset(config, path)
    others = Counter(post.split for post in corpus.posts if post.split not in (split, None))
    if others:
        counts = ", ".join(f"{count} of the split {name}" for name, count in others.items())
        LOGGER.warning(
            "%s was passed with --%s, so all of its posts are %s posts, although it has %s: pass "
            "it with --root to use its splits.",
            *(path, split, split, counts),
        )
    return corpus


def _training_posts(
    corpus: Corpus,
    splits: Mapping[str, Sequence[Post]],
    read: Sequence[Post],
    unused: Mapping[str, int] | None = None,
) -> TrainingPosts:
    """Leave out and count posts without content, and those without a label."""
    empty = tuple(post.id for post in read if missing_input(post) is not None)
    waiting = tuple(post.id for post in read if post.label is None and missing_input(post) is None)
    left_out = {WITHOUT_CONTENT: empty, UNLABELLED: waiting}
    removed = {**corpus.removed, **{reason: ids for reason, ids in left_out.items() if ids}}
    train, dev = (learnable_posts(splits[name]) for name in TWO_WAY)
    return TrainingPosts(
        train, dev, corpus.class_names, removed, dict(unused or {}), corpus.columns
    )


def learnable_posts(posts: Sequence[Post]) -> list[Post]:
    """Return the posts that have a label and content."""
    return [post for post in posts if post.label is not None and missing_input(post) is None]


def _require_learnable(posts: TrainingPosts, needs_dev: NeedsDev) -> None:
    if len(posts.class_names) < MIN_CLASSES:
        is_unknown = posts.columns and "label" not in posts.columns
        hint = ": say which column holds the labels with --columns label=NAME" if is_unknown else ""
        found = (
            f"all training posts are labelled '{posts.class_names[0]}': add posts of another class"
            if posts.class_names
            else "the training posts have no label" + hint
        )
        raise DataError(f"A classifier needs at least two classes, but {found}.")
    several = Counter(post.label for post in posts.train)
    if len(several) > FEW_CLASSES and 2 * len(several) > len(posts.train):
        some = ", ".join(f"'{name}'" for name in sorted(map(str, several))[:3])
        raise DataError(
            f"The {len(posts.train)} training posts have {len(several)} different labels, such as "
            f"{some}, so most classes would have one post: say which column holds the classes with "
            "--columns label=NAME, or replace numbers by classes such as low and high."
        )
    if not posts.dev and needs_dev(len(posts.train)):
        raise DataError(
            f"The {len(posts.train)} training posts are too few to take dev posts from: add more, "
            "or pass separate dev posts with --dev FILE."
        )
