"""Posts that are audited, the findings about them, and findings as JSON and as lines of text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mvcn.audit.kinds import KINDS, Severity
from mvcn.config import DataConfig
from mvcn.data.images import describe_images_of
from mvcn.data.reading import id_lists, read_dataset
from mvcn.data.split_names import SPLITS
from mvcn.data.splits import id_files, posts_of_id_file
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus, ImageFacts, Post

MARK = "mvcn audit"
"""Near the beginning of every JSON file and page of an audit."""
ALL = "all"
"""Name of all posts together, as a split."""
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "information")
NONE, NOT_SEARCHED = "none", "not searched"
"""In place of a severity."""


@dataclass(frozen=True, slots=True)
class AuditedPosts:
    """The posts of a dataset with the splits that they belong to."""

    posts: Sequence[Post]
    class_names: tuple[str, ...]
    facts: Sequence[ImageFacts | None]
    """Facts about each post's image; None for a post without one."""
    splits: Mapping[str, Sequence[int]]
    """Name of a split -> positions of its posts, in the split's own order; earlier splits first."""
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    encodings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def with_all(self) -> dict[str, Sequence[int]]:
        """All posts as the split `ALL`, then the splits."""
        return {ALL: range(len(self.posts)), **self.splits}

    def labels(self, positions: Iterable[int]) -> list[str]:
        """Return the labels of the posts at these positions that have one."""
        return [label for i in positions if (label := self.posts[i].label) is not None]

    def ids(self, positions: Iterable[int]) -> list[str]:
        """Return the ids of the posts at these positions."""
        return [self.posts[i].id for i in positions]

    def class_counts(self) -> dict[str, Counter[str]]:
        """Return split -> class -> number of posts, with 0 for classes without any."""
        counts = {split: Counter(dict.fromkeys(self.class_names, 0)) for split in self.with_all}
        for split, positions in self.with_all.items():
            counts[split].update(self.labels(positions))
        return counts

    def splits_of_posts(self) -> list[tuple[str, ...]]:
        """Return the splits that each post is in: none, one, or by mistake several."""
        names: list[tuple[str, ...]] = [()] * len(self.posts)
        for split, positions in self.splits.items():
            for i in positions:
                names[i] += (split,)
        return names


@dataclass(frozen=True, slots=True)
class Example:
    """Posts that illustrate a finding, shown side by side."""

    positions: tuple[int, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The faults of one kind."""

    count: int
    """Number of posts (or words, or splits) with the fault."""
    details: Mapping[str, Any]
    """Everything that was found, as in the JSON file."""
    examples: Sequence[Example] = ()
    summary: str = ""
    """The most important numbers, in a few words."""
    severity: Severity | None = None
    """None for the severity of the kind."""


def read_audited_posts(config: DataConfig) -> AuditedPosts:
    """Read all posts of a dataset, their splits, and the facts about their images.

    Splits come from id files or a published fold, if given, else from the dataset itself. Where
    `config.train` and `config.dev` are separate datasets, ids are prefixed with their split.

    Raises:
        ConfigError: No dataset is given, or it is given in two ways.
        DataError: A file cannot be read.
    """
    given = {split: path for split, path in (("train", config.train), ("dev", config.dev)) if path}
    if given and (config.root is not None or config.splits is not None):
        raise ConfigError("Use either --root (with --splits) or --train and --dev, not both.")
    if given:
        corpus, splits = _join({split: read_dataset(config, path) for split, path in given.items()})
    else:
        corpus = read_dataset(config, config.root)
        splits = _splits_of_corpus(corpus, id_lists(config))
    facts = [
        facts or corpus.faulty_images.get(post.id)
        for post, facts in zip(corpus.posts, describe_images_of(corpus.posts), strict=True)
    ]
    return AuditedPosts(
        corpus.posts, corpus.class_names, facts, splits, corpus.removed, corpus.encodings
    )


def _splits_of_corpus(corpus: Corpus, folder: Path | None) -> dict[str, Sequence[int]]:
    """Return the positions of each split's posts, from id files or from the posts themselves."""
    if folder is None:
        found = {
            split: [i for i, post in enumerate(corpus.posts) if post.split == split]
            for split in SPLITS
        }
        return {split: positions for split, positions in found.items() if positions}
    names = id_files(folder)
    if not names:
        files = ", ".join(f"{split}.txt" for split in SPLITS)
        raise DataError(
            f"{folder} has none of {files}: pass the folder that holds them with --splits."
        )
    position = {post.id: i for i, post in enumerate(corpus.posts)}
    return {
        split: [position[post.id] for post in posts_of_id_file(corpus, folder, split)]
        for split in names
    }


def _join(corpora: Mapping[str, Corpus]) -> tuple[Corpus, dict[str, Sequence[int]]]:
    """Return several datasets as one, with ids prefixed with their splits."""
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


def count_posts(audited: AuditedPosts) -> dict[str, Any]:
    """Return the numbers of posts by split and class, and with and without text and image."""
    with_text = sum(bool(post.text.strip()) for post in audited.posts)
    with_image = sum(post.image is not None for post in audited.posts)
    return {
        "posts": {split: len(positions) for split, positions in audited.with_all.items()},
        "classes": {split: dict(table) for split, table in audited.class_counts().items()},
        "with_text": with_text,
        "without_text": len(audited.posts) - with_text,
        "with_image": with_image,
        "without_image": len(audited.posts) - with_image,
        "without_label": sum(post.label is None for post in audited.posts),
        "removed": {reason: len(ids) for reason, ids in audited.removed.items()},
    }


def to_mapping(audited: AuditedPosts, findings: Mapping[str, Finding]) -> dict[str, Any]:
    """Return all findings as plain values for JSON."""
    content: dict[str, Any] = {"report": MARK, "counts": count_posts(audited)}
    for kind, finding in findings.items():
        about = {
            **asdict(KINDS[kind]),
            "severity": finding.severity or KINDS[kind].severity,
            "count": finding.count,
            "summary": finding.summary,
        }
        content[kind] = {**about, **finding.details}
    return content


def summary_lines(audited: AuditedPosts, findings: Mapping[str, Finding]) -> Iterator[str]:
    """Yield a headline and a line for each finding, the most severe first."""
    yield headline(audited)
    counts = count_posts(audited)
    numbers = {name: counts[f"without_{name}"] for name in ("label", "text", "image")}
    if missing := [f"{name}: {number:,}" for name, number in numbers.items() if number]:
        yield f"Without {', '.join(missing)}."
    for kind, severity in by_severity(findings):
        finding = findings[kind]
        about = f": {finding.summary}" if finding.summary else ""
        yield f"{severity:<12}{finding.count:>7,}  {KINDS[kind].title} [{kind}]{about}"
    yield from sentences_about_absent(findings)


def by_severity(findings: Mapping[str, Finding]) -> list[tuple[str, str]]:
    """Return the kinds of which something was found, with severity, the most severe first."""
    found = [(kind, severity_of(kind, finding)) for kind, finding in findings.items()]
    return [one for severity in SEVERITIES for one in found if one[1] == severity]


def sentences_about_absent(findings: Mapping[str, Finding]) -> Iterator[str]:
    """Yield what was not found, and what was not searched."""
    found = {kind: severity_of(kind, finding) for kind, finding in findings.items()}
    if absent := [KINDS[kind].title for kind in found if found[kind] == NONE]:
        yield f"Nothing found: {', '.join(absent)}."
    if NOT_SEARCHED in found.values():
        yield "Suspected label errors were not searched: add --label-errors."


def headline(audited: AuditedPosts) -> str:
    """Return the number of posts and of those in each split, in words."""
    splits = [f"{split} {len(positions):,}" for split, positions in audited.splits.items()]
    inside = f" ({', '.join(splits)})" if splits else ""
    removed = sum(len(ids) for ids in audited.removed.values())
    left_out = f", {removed:,} removed by the dataset's rules" if removed else ""
    number = len(audited.posts)
    return f"{number:,} post{'' if number == 1 else 's'}{inside}{left_out}"


def severity_of(kind: str, finding: Finding) -> str:
    """Return the severity of a finding, else of its kind; `NONE` if nothing was found."""
    if finding.details.get("searched") is False:
        return NOT_SEARCHED
    return (finding.severity or KINDS[kind].severity) if finding.count else NONE
