"""Prepared data sets: one layout for every command, with the images and what is known of them.

A folder with ``data/<part>-00000-of-00003.parquet``, where a part is ``train``, ``dev``, ``test``
or, for posts without a split, ``posts``; and ``dataset.json``, written last, which says what must
be there. `mvcn.data.preparation` writes it.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mvcn.errors import DataError, reason_of
from mvcn.types import Corpus

FORMAT = "mvcn prepared posts"
FORMAT_VERSION = 1
MANIFEST_FILE = "dataset.json"
PROGRESS_FILE = "prepare.json"
SPLITS = ("train", "dev", "test")
UNSPLIT = "posts"
"""Part of the posts without a split."""


def read_prepared(root: Path, *, splits: Collection[str] | None = None) -> Corpus:
    """Read a folder that ``mvcn prepare`` has written; images are read only when needed.

    Posts come part by part (train, dev, test, those without a split), each in its order. Images
    bring their facts along, so that none has to be decoded to be told from the others.

    Args:
        root: The folder.
        splits: The parts that are wanted; None for all. A folder without any gives all its posts.

    Raises:
        DataError: Not such a folder, or one that is unfinished or damaged, or of another version.
    """
    from mvcn.data.shards import read_shard  # takes half a second; --help must not wait for it

    manifest = read_manifest(root)
    wanted = _wanted_parts(manifest["parts"], splits)
    posts = [
        post
        for shard in manifest["shards"]
        if shard["part"] in wanted
        for post in read_shard(root / shard["file"], shard["posts"], shard["fingerprint"])
    ]
    return Corpus(
        posts,
        tuple(manifest["class_names"]),
        {reason: tuple(ids) for reason, ids in manifest["removed"].items()},
        {encoding: tuple(ids) for encoding, ids in manifest["encodings"].items()},
    )


def read_manifest(root: Path) -> dict[str, Any]:
    """Read and check ``dataset.json``.

    Raises:
        DataError: Missing, damaged, edited, or of another version.
    """
    path = root / MANIFEST_FILE
    if not path.is_file():
        if (root / PROGRESS_FILE).is_file():
            raise DataError(
                f"The preparation of {root} is not finished: give its mvcn prepare command again."
            )
        raise DataError(
            f"{root} is not a folder of prepared posts (it has no {MANIFEST_FILE}): "
            "make one with mvcn prepare."
        )
    content = _parse(path)
    if content.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {str(content.get('format_version'))[:20]}, but this mvcn "
            f"reads {FORMAT_VERSION}: prepare the posts anew with it."
        )
    if content.get("fingerprint") != manifest_fingerprint(content):
        raise DataError(f"{path} was edited or is damaged: prepare the posts anew.")
    return content


def manifest_fingerprint(content: Mapping[str, Any]) -> str:
    """Return a digest of all of ``dataset.json`` but its own fingerprint."""
    rest = {key: value for key, value in content.items() if key != "fingerprint"}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16).hexdigest()


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read ({reason_of(error)[:100]}): prepare the posts anew."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} does not describe prepared posts: make a folder by mvcn prepare.")
    return content


def _wanted_parts(parts: Collection[str], splits: Collection[str] | None) -> Collection[str]:
    has_splits = any(part != UNSPLIT for part in parts)
    return parts if splits is None or not has_splits else splits
