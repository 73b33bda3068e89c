"""Real rows of numbers with classes, and the regimes that they are put into."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split

from mvcn.audit.label_errors import post_features
from mvcn.config import DataConfig
from mvcn.data.reading import read_training_posts
from mvcn.types import ImageFacts, Post

MAX_ROWS = 5000
FAMILIES = ("pairs of digits", "hashtags of HFM")
"""Data sets of several numbers of classes, which are not changed otherwise."""
FEWEST = 2
"""Training rows that each class keeps."""
FEWEST_OF_HASHTAG = 8
PAIRS = 4000
"""Pairs of digits that are drawn, a half of them to train on."""
HASHTAG = re.compile(r"# ?(\w+)")

SHARE, FLIPPED, BALANCE, NOISE, CLASSES = (
    "training rows, %",
    "labels flipped, %",
    "largest class : smallest",
    "noise in test rows, deviations",
    "classes",
)
LEVELS: Mapping[str, Sequence[float]] = {
    SHARE: (5, 10, 25, 100),
    FLIPPED: (0, 10, 20, 40),
    BALANCE: (1, 10, 100),
    NOISE: (0, 0.5, 1, 2),
    CLASSES: (2, 5, 10, 25, 50, 100),
}
"""Regime -> its levels."""
UNCHANGED: Mapping[str, float] = {SHARE: 100, FLIPPED: 0, NOISE: 0}
"""Regime -> the level at which the rows are as they are."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to train on and to evaluate on."""

    name: str
    train: Float[np.ndarray, "rows dim"]
    train_classes: Int[np.ndarray, " rows"]
    test: Float[np.ndarray, "others dim"]
    test_classes: Int[np.ndarray, " others"]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return int(self.train_classes.max()) + 1

    def select(self, chosen: Int[np.ndarray, " chosen"]) -> "Rows":
        """Return them with some of the training rows."""
        return replace(self, train=self.train[chosen], train_classes=self.train_classes[chosen])


Change = Callable[[Rows, float, np.random.Generator], Rows]


def bundled() -> Iterator[Rows]:
    """Yield the data sets that come with scikit-learn, half of each to train on."""
    loaders = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}
    for name, load in loaders.items():
        yield _halves(name, *load(return_X_y=True))


def mvsa(root: Path) -> Iterator[Rows]:
    """Yield MVSA-Single: frozen features of the texts, and of texts and images."""
    for name, text_only in (("MVSA-Single texts", True), ("MVSA-Single posts", False)):
        config = DataConfig(
            name="mvsa-single", root=root, splits=root / "splits", text_only=text_only
        )
        yield _posts(name, config)


def hfm(root: Path) -> Rows:
    """Return frozen features of HFM's texts, whitespace normalized."""
    return _posts("HFM texts", DataConfig(name="hfm", root=root, text_only=True))


def digit_pairs() -> Iterator[Rows]:
    """Yield two digits side by side, of which there are 4 to 100 classes."""
    pixels, digits = load_digits(return_X_y=True)
    for count in (2, 3, 5, 7, 10):
        chosen = np.flatnonzero(digits < count)
        drawn = np.random.default_rng(0).choice(chosen, (PAIRS, 2))
        classes = digits[drawn] @ [count, 1]
        yield _halves("pairs of digits", pixels[drawn].reshape(PAIRS, -1), classes)


def hashtags(root: Path) -> Iterator[Rows]:
    """Yield the texts of HFM, without their hashtags, one of K frequent ones being the class."""
    config = DataConfig(name="hfm", root=root, text_only=True)
    posts = read_training_posts(config, seed=0).train
    classes = _hashtag_of_each(posts)
    for count in map(int, LEVELS[CLASSES]):
        chosen = [place for place, number in classes.items() if number < count][:MAX_ROWS]
        features = _features([_without_hashtags(posts[place]) for place in chosen])
        numbers = np.array([classes[place] for place in chosen])
        yield _halves("hashtags of HFM", features, numbers)


def _hashtag_of_each(posts: Sequence[Post]) -> dict[int, int]:
    """Return place of a post -> number of its hashtag, the most frequent one being 0.

    A hashtag is numbered if `FEWEST_OF_HASHTAG` posts have it and none of those before it.
    """
    found = [set(HASHTAG.findall(post.text.lower())) for post in posts]
    counts = Counter(tag for tags in found for tag in tags)
    classes: dict[int, int] = {}
    number = 0
    for tag, _ in counts.most_common():
        own = [i for i, tags in enumerate(found) if tag in tags and i not in classes]
        if len(own) >= FEWEST_OF_HASHTAG:
            classes |= dict.fromkeys(own, number)
            number += 1
        if number == max(LEVELS[CLASSES]):
            break
    return classes


def _without_hashtags(post: Post) -> Post:
    return replace(post, text=HASHTAG.sub("", post.text).strip() or "no words")


def regimes() -> Mapping[str, Change]:
    """Return name of a regime of the training rows -> what makes it of rows, by level."""
    return {SHARE: _share, FLIPPED: _flipped, BALANCE: _balance}


def _share(rows: Rows, level: float, random: np.random.Generator) -> Rows:
    """Keep some percent of the training rows of each class."""
    sizes = np.bincount(rows.train_classes) * level / 100
    return rows.select(_draw(rows, sizes, random))


def _flipped(rows: Rows, level: float, random: np.random.Generator) -> Rows:
    """Give some percent of the training rows another class, all others being as likely."""
    classes = rows.train_classes.copy()
    wrong = random.random(len(classes)) < level / 100
    others = random.integers(1, rows.num_classes, len(classes))
    classes[wrong] = (classes + others)[wrong] % rows.num_classes
    return replace(rows, train_classes=classes)


def _balance(rows: Rows, level: float, random: np.random.Generator) -> Rows:
    """Let the classes shrink geometrically, the largest being `level` times the smallest."""
    counts = np.bincount(rows.train_classes)
    places = np.empty(len(counts))
    places[np.argsort(-counts, kind="stable")] = np.linspace(0, 1, len(counts))
    shares = level**-places
    return rows.select(_draw(rows, shares * (counts / shares).min(), random))


def _draw(
    rows: Rows, sizes: Float[np.ndarray, " classes"], random: np.random.Generator
) -> Int[np.ndarray, " chosen"]:
    chosen = [
        random.permutation(np.flatnonzero(rows.train_classes == k))[: max(FEWEST, round(size))]
        for k, size in enumerate(sizes.tolist())
    ]
    return np.sort(np.concatenate(chosen))


def _halves(name: str, rows: np.ndarray, classes: np.ndarray) -> Rows:
    train, test, train_classes, test_classes = train_test_split(
        rows, classes, test_size=0.5, stratify=classes, random_state=0
    )
    return Rows(name, train, train_classes, test, test_classes)


def _posts(name: str, config: DataConfig) -> Rows:
    posts = read_training_posts(config, seed=0)
    random = np.random.default_rng(0)
    parts = [
        [part[i] for i in sorted(random.permutation(len(part))[:MAX_ROWS])]
        for part in (posts.train, posts.dev)
    ]
    numbers = {label: number for number, label in enumerate(posts.class_names)}
    classes = [np.array([numbers[str(post.label)] for post in part]) for part in parts]
    return Rows(name, _features(parts[0]), classes[0], _features(parts[1]), classes[1])


def _features(posts: Sequence[Post]) -> Float[np.ndarray, "posts dim"]:
    """Return mean token features of the packaged encoders, those of absent images left out."""
    facts = [None if post.image is None else ImageFacts(digest="") for post in posts]
    found = post_features(posts, facts)
    return found[:, found.any(axis=0)]
