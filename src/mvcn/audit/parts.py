"""The posts of a source, all of them, with the parts that they belong to."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from mvcn.audit.findings import PARTS, AuditedPosts
from mvcn.config import DataConfig
from mvcn.data.image_facts import describe_images
from mvcn.data.sources import read_source
from mvcn.data.splits import read_ids, select_posts
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus, ImageFacts, Post

Parts = Mapping[str, Sequence[int]]


def read_audited_posts(config: DataConfig) -> AuditedPosts:
    """Read all posts of a source, their parts, and what is known of their images.

    Parts come from the id files in `config.splits`, else from the source itself; or `config.train`
    and `config.dev` are sources of their own, whose ids then begin with the name of their part.

    Raises:
        ConfigError: No source is given, or two ways to name one.
        DataError: A file cannot be read as what it should be.
    """
    sources = {"train": config.train, "dev": config.dev}
    given = {part: path for part, path in sources.items() if path is not None}
    if given and (config.root is not None or config.splits is not None):
        raise ConfigError("Give either --root (and --splits) or --train and --dev, not both.")
    if given:
        corpus, parts = _join({part: read_source(config, path) for part, path in given.items()})
    else:
        corpus = read_source(config, config.root)
        parts = _parts_of_source(corpus, config.splits)
    facts = _describe(corpus.posts)
    return AuditedPosts(
        corpus.posts, corpus.class_names, facts, parts, corpus.removed, corpus.encodings
    )


def _parts_of_source(corpus: Corpus, splits: Path | None) -> Parts:
    if splits is not None:
        return _parts_of_id_files(corpus, splits)
    positions: dict[str, list[int]] = {part: [] for part in PARTS}
    for i, post in enumerate(corpus.posts):
        if post.split is not None:
            positions[post.split].append(i)
    return {part: found for part, found in positions.items() if found}


def _parts_of_id_files(corpus: Corpus, folder: Path) -> Parts:
    there = {part: path for part in PARTS if (path := folder / f"{part}.txt").is_file()}
    if not there:
        names = ", ".join(f"{part}.txt" for part in PARTS)
        raise DataError(f"{folder} has none of {names}: give the folder of id files to --splits.")
    position = {post.id: i for i, post in enumerate(corpus.posts)}
    return {
        part: [position[post.id] for post in select_posts(corpus, read_ids(path), str(path))]
        for part, path in there.items()
    }


def _join(corpora: Mapping[str, Corpus]) -> tuple[Corpus, Parts]:
    """Return the posts of several sources as one, their ids marked with their parts."""
    posts: list[Post] = []
    parts: dict[str, Sequence[int]] = {}
    names: list[str] = []
    removed: dict[str, tuple[str, ...]] = {}
    encodings: dict[str, tuple[str, ...]] = {}
    for part, corpus in corpora.items():
        parts[part] = range(len(posts), len(posts) + len(corpus.posts))
        posts += [dataclasses.replace(post, id=f"{part}:{post.id}") for post in corpus.posts]
        names += corpus.class_names
        for found, joined in ((corpus.removed, removed), (corpus.encodings, encodings)):
            for key, ids in found.items():
                joined[key] = joined.get(key, ()) + tuple(f"{part}:{post_id}" for post_id in ids)
    return Corpus(posts, tuple(dict.fromkeys(names)), removed, encodings), parts


def _describe(posts: Sequence[Post]) -> list[ImageFacts | None]:
    shown = [(i, post.image) for i, post in enumerate(posts) if post.image is not None]
    facts: list[ImageFacts | None] = [None] * len(posts)
    if not shown:
        return facts
    found = describe_images([image for _, image in shown], "Images")
    for (i, _), fact in zip(shown, found, strict=True):
        facts[i] = fact
    return facts
