"""What an audit works on and what it finds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mvcn.config import DataConfig
from mvcn.data.images import describe_images_of
from mvcn.data.reading import read_dataset
from mvcn.data.splits import id_files, posts_of_id_file
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus, ImageFacts, Post

SPLITS = ("train", "dev", "test")
ALL = "all"
"""Name of all posts together, as a split."""

Severity = Literal["information", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, as it is explained to users."""

    title: str
    explanation: str
    """One sentence: what is counted, and why it matters."""
    severity: Severity


KINDS: dict[str, Kind] = {
    "contradictory": Kind(
        "Contradictory posts",
        "The dataset's own rules remove these posts since labels of text and image exclude each "
        "other: scores hold for the other posts alone.",
        "information",
    ),
    "encodings": Kind(
        "Texts not stored in UTF-8",
        "These texts were decoded from another encoding: who reads them as UTF-8 or Latin-1 "
        "trains on garbled characters.",
        "information",
    ),
    "mojibake": Kind(
        "Garbled texts",
        "Texts that were decoded with the wrong encoding, or hold replacement characters.",
        "warning",
    ),
    "texts": Kind(
        "Unusual texts",
        "Texts that are empty, very short, very long, or nothing but addresses and mentions.",
        "warning",
    ),
    "images": Kind(
        "Faulty images",
        "Images that are missing, broken, without their last bytes, blank, tiny, or far from "
        "square.",
        "error",
    ),
    "duplicates": Kind(
        "Duplicates",
        "Posts whose text or image equals, or nearly equals, that of another post: they count "
        "more than once.",
        "warning",
    ),
    "leakage": Kind(
        "Leakage between splits",
        "Posts of a later split (dev, test) with a duplicate in an earlier one: scores on them "
        "show memory, not skill.",
        "error",
    ),
    "conflicting_labels": Kind(
        "Conflicting labels",
        "Posts with equal texts or images but different labels: no model can be right on all.",
        "error",
    ),
    "disagreement": Kind(
        "Text and image labels that differ",
        "Posts whose text and image were labelled differently: one modality alone misleads.",
        "information",
    ),
    "imbalance": Kind(
        "Imbalanced classes",
        "Classes that are rare, missing in a split, or whose shares differ between splits.",
        "warning",
    ),
    "label_order": Kind(
        "Splits in the order of their labels",
        "Posts with equal labels follow each other: batches that are not shuffled then hold one "
        "class, and batch statistics give it away.",
        "warning",
    ),
    "label_cues": Kind(
        "Words that tell the label",
        "Single words that are much more frequent in one class than in the others: a model may "
        "learn them alone.",
        "information",
    ),
    "label_errors": Kind(
        "Suspected label errors",
        "Posts whose label is improbable to a classifier that was trained on the other posts.",
        "warning",
    ),
}
"""Key in the JSON file -> what it is, in the order of all outputs."""


@dataclass(frozen=True, slots=True)
class AuditedPosts:
    """The posts of a dataset with the splits that they belong to."""

    posts: Sequence[Post]
    class_names: tuple[str, ...]
    facts: Sequence[ImageFacts | None]
    """What is known of each post's image; None where it has none."""
    splits: Mapping[str, Sequence[int]]
    """Name of a split -> positions of its posts, in the split's own order; earlier splits first."""
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    encodings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def with_all(self) -> dict[str, Sequence[int]]:
        """The splits, and before them all posts together."""
        return {ALL: range(len(self.posts)), **self.splits}

    def labels(self, positions: Iterable[int]) -> list[str]:
        """Return the labels of the posts at these positions that have one."""
        return [label for i in positions if (label := self.posts[i].label) is not None]

    def ids(self, positions: Iterable[int]) -> list[str]:
        """Return the ids of the posts at these positions."""
        return [self.posts[i].id for i in positions]

    def splits_of_posts(self) -> list[tuple[str, ...]]:
        """Return the splits that each post is in: none, one, or by mistake several."""
        names: list[tuple[str, ...]] = [()] * len(self.posts)
        for split, positions in self.splits.items():
            for i in positions:
                names[i] += (split,)
        return names


@dataclass(frozen=True, slots=True)
class Example:
    """Posts that show a finding, side by side."""

    positions: tuple[int, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one kind."""

    count: int
    """How many posts (or words, or splits) are concerned."""
    details: Mapping[str, Any]
    """All of it, as it goes into the JSON file."""
    examples: Sequence[Example] = ()
    summary: str = ""
    """Half a sentence with the numbers that matter, for users."""
    severity: Severity | None = None
    """Where it is not that of the kind."""


def read_audited_posts(config: DataConfig) -> AuditedPosts:
    """Read all posts of a dataset, their splits, and what is known of their images.

    Splits come from the id files in `config.splits`, else from the dataset itself; or
    `config.train` and `config.dev` are datasets of their own, whose ids then begin with the name of
    their split.

    Raises:
        ConfigError: No dataset is given, or two ways to name one.
        DataError: A file cannot be read as what it should be.
    """
    given = {split: path for split, path in (("train", config.train), ("dev", config.dev)) if path}
    if given and (config.root is not None or config.splits is not None):
        raise ConfigError("Give either --root (and --splits) or --train and --dev, not both.")
    if given:
        corpus, splits = _join({split: read_dataset(config, path) for split, path in given.items()})
    else:
        corpus = read_dataset(config, config.root)
        splits = _splits_of_corpus(corpus, config.splits)
    facts = [
        facts or corpus.faulty_images.get(post.id)
        for post, facts in zip(corpus.posts, describe_images_of(corpus.posts), strict=True)
    ]
    return AuditedPosts(
        corpus.posts, corpus.class_names, facts, splits, corpus.removed, corpus.encodings
    )


def _splits_of_corpus(corpus: Corpus, folder: Path | None) -> dict[str, Sequence[int]]:
    """Return the positions of each split's posts, by id files or by the posts themselves."""
    if folder is None:
        found = {
            split: [i for i, post in enumerate(corpus.posts) if post.split == split]
            for split in SPLITS
        }
        return {split: positions for split, positions in found.items() if positions}
    names = id_files(folder)
    if not names:
        files = ", ".join(f"{split}.txt" for split in SPLITS)
        raise DataError(f"{folder} has none of {files}: give the folder of id files to --splits.")
    position = {post.id: i for i, post in enumerate(corpus.posts)}
    return {
        split: [position[post.id] for post in posts_of_id_file(corpus, folder, split)]
        for split in names
    }


def _join(corpora: Mapping[str, Corpus]) -> tuple[Corpus, dict[str, Sequence[int]]]:
    """Return the posts of several datasets as one, their ids marked with their splits."""
    posts: list[Post] = []
    splits: dict[str, Sequence[int]] = {}
    names: list[str] = []
    removed: dict[str, tuple[str, ...]] = {}
    encodings: dict[str, tuple[str, ...]] = {}
    faulty: dict[str, ImageFacts] = {}
    for split, corpus in corpora.items():
        splits[split] = range(len(posts), len(posts) + len(corpus.posts))
        posts += [replace(post, id=f"{split}:{post.id}") for post in corpus.posts]
        names += corpus.class_names
        faulty |= {f"{split}:{post_id}": facts for post_id, facts in corpus.faulty_images.items()}
        for found, joined in ((corpus.removed, removed), (corpus.encodings, encodings)):
            for key, ids in found.items():
                joined[key] = joined.get(key, ()) + tuple(f"{split}:{post_id}" for post_id in ids)
    return Corpus(posts, tuple(dict.fromkeys(names)), removed, encodings, faulty), splits
