"""The posts of a source, all of them, with the parts that they belong to."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from mvcn.audit.findings import PARTS, AuditedPosts
from mvcn.config import DataConfig
from mvcn.data.image_facts import describe_images_of
from mvcn.data.sources import id_files, posts_of_id_file, read_source
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
    facts = [
        facts or corpus.faulty_images.get(post.id)
        for post, facts in zip(corpus.posts, describe_images_of(corpus.posts), strict=True)
    ]
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
    there = id_files(folder)
    if not there:
        names = ", ".join(f"{part}.txt" for part in PARTS)
        raise DataError(f"{folder} has none of {names}: give the folder of id files to --splits.")
    position = {post.id: i for i, post in enumerate(corpus.posts)}
    return {
        part: [position[post.id] for post in posts_of_id_file(corpus, folder, part)]
        for part in there
    }


def _join(corpora: Mapping[str, Corpus]) -> tuple[Corpus, Parts]:
    """Return the posts of several sources as one, their ids marked with their parts."""
    posts: list[Post] = []
    parts: dict[str, Sequence[int]] = {}
    names: list[str] = []
    removed: dict[str, tuple[str, ...]] = {}
    encodings: dict[str, tuple[str, ...]] = {}
    faulty: dict[str, ImageFacts] = {}
    for part, corpus in corpora.items():
        faulty |= {f"{part}:{post_id}": facts for post_id, facts in corpus.faulty_images.items()}
        parts[part] = range(len(posts), len(posts) + len(corpus.posts))
        posts += [dataclasses.replace(post, id=f"{part}:{post.id}") for post in corpus.posts]
        names += corpus.class_names
        for found, joined in ((corpus.removed, removed), (corpus.encodings, encodings)):
            for key, ids in found.items():
                joined[key] = joined.get(key, ()) + tuple(f"{part}:{post_id}" for post_id in ids)
    return Corpus(posts, tuple(dict.fromkeys(names)), removed, encodings, faulty), parts
