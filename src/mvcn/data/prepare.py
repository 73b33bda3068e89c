"""Write a prepared dataset, shard by shard; `datasets.prepared` defines its format."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from mvcn.data.bad_images import (
    WITHOUT_CONTENT,
    bad_image_error,
    by_id,
    missing_input,
    usable_posts,
)
from mvcn.data.datasets.prepared import (
    FACTS,
    FILE_SPLITS,
    FOLDER,
    FORMAT,
    INDEX_FILE,
    PLAN_FILE,
    SCHEMA,
    SPLIT_KEY,
    TRUNCATED,
    UNSPLIT,
    canonical,
    digest_of,
    parse_json,
)
from mvcn.data.images import image_digest, prefetch, read_and_describe, warn_of_truncated_images
from mvcn.data.posts import fingerprint
from mvcn.data.stored_images import ParquetImage, TarMember
from mvcn.errors import DataError, RunError
from mvcn.files import write_json
from mvcn.outputs import remove_contents, require_output_folder, require_same_settings
from mvcn.types import BadImagePolicy, Corpus, ImageFacts, Post

KIND = "prepared dataset"
SHARD_POSTS = 2048
ROW_GROUP_POSTS = 32
"""Small, so that reading a single image is cheap."""
BAD_IMAGE = "with a bad image"
OF_POSTS = ("bad_images", TRUNCATED, "left_out")
"""Keys of a shard's record about single posts."""


@dataclass(frozen=True, slots=True)
class _Shard:
    split: str
    number: int
    of: int
    posts: Sequence[Post]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}-of-{self.of:05d}.parquet"


def prepare(
    corpus: Corpus,
    output: Path,
    *,
    dataset: str,
    on_bad_image: BadImagePolicy = "error",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write posts and their images into the folder `output`, shard by shard.

    An interrupted call is resumed at the next shard when repeated with the same posts. Posts
    without text and image are left out.

    Args:
        corpus: The posts, with their splits in `Post.split`.
        output: Folder: new, empty, or left by an interrupted call.
        dataset: Name of the kind of dataset, which is recorded.
        on_bad_image: Policy for images that cannot be decoded; see `usable_posts`.
        overwrite: Replace existing output.

    Returns:
        The content of ``dataset.json``.

    Raises:
        RunError: The folder contains something else, or the images to be copied.
        DataError: A post is in an unknown split, or cannot be written.
        BadImageError: The policy is ``error`` and images are bad; names the first of all.
    """
    posts = [post for post in corpus.posts if missing_input(post) is None]
    shards = _plan(posts)
    _require_elsewhere(posts, output)
    plan = {"posts": _identity(posts), "on_bad_image": on_bad_image, "format": FORMAT}
    _create_folder(output, plan, overwrite)
    records = []
    with tqdm(total=len(posts), desc="Posts", unit="post") as progress:
        for shard in shards:
            records.append(_write_shard(shard, output, on_bad_image))
            progress.update(len(shard.posts))
    bad = {post_id: why for record in records for post_id, why in record["bad_images"].items()}
    if bad and on_bad_image == "error":
        raise bad_image_error(bad)
    index = _index(corpus, dataset, records, on_bad_image)
    warn_of_truncated_images(list(index[TRUNCATED].values()))
    write_json(output / INDEX_FILE, index)
    (output / PLAN_FILE).unlink()
    for record in (output / FOLDER).glob("*.json"):
        record.unlink()
    return index


def _plan(posts: Sequence[Post]) -> list[_Shard]:
    """Divide the posts of each split into shards, in order."""
    for post in posts:
        if post.split not in (*FILE_SPLITS[:-1], None):
            raise DataError(f"Post {post.id!r} is in split {post.split!r}: use train, dev or test.")
    shards = []
    for split in FILE_SPLITS:
        own = [post for post in posts if (post.split or UNSPLIT) == split]
        chunks = [own[i : i + SHARD_POSTS] for i in range(0, len(own), SHARD_POSTS)]
        shards += [_Shard(split, n, len(chunks), chunk) for n, chunk in enumerate(chunks)]
    return shards


def _identity(posts: Sequence[Post]) -> str:
    """Return a digest of everything that determines the output except the bytes of image files."""
    digest = hashlib.blake2b(fingerprint(posts).encode(), digest_size=16)
    for post in posts:
        place = image_digest(post.image) if isinstance(post.image, bytes) else str(post.image)
        digest.update(repr((post.split, post.attributes, place)).encode())
    return digest.hexdigest()


def _require_elsewhere(posts: Sequence[Post], output: Path) -> None:
    """Raise a RunError if images to be copied are in the output folder."""
    folder = output.resolve()
    for post in posts:
        place = post.image
        if isinstance(place, ParquetImage):
            place = place.path
        elif isinstance(place, TarMember):
            place = Path(place.file.path)
        if isinstance(place, Path) and place.absolute().is_relative_to(folder):
            raise RunError(
                f"{output} contains the images to be copied: choose another folder with --output."
            )


def _create_folder(output: Path, plan: Mapping[str, Any], overwrite: bool) -> None:
    """Create or resume the folder; raises a RunError if it contains something else."""
    if overwrite:
        _remove_prepared(output)
    elif (output / PLAN_FILE).is_file():
        before = parse_json(output / PLAN_FILE)
        if before.get("on_bad_image") == "error":  # then no finished shard has a bad image
            before = {**before, "on_bad_image": plan["on_bad_image"]}
        require_same_settings(output, KIND, before, plan)
        write_json(output / PLAN_FILE, plan)
        return
    is_own = (output / INDEX_FILE).is_file()
    require_output_folder(output, KIND, is_own=is_own, overwrite=False)
    (output / FOLDER).mkdir(parents=True, exist_ok=True)
    write_json(output / PLAN_FILE, plan)


def _remove_prepared(output: Path) -> None:
    """Remove the files that `prepare` writes, and nothing else."""
    if (output / INDEX_FILE).is_file() or (output / PLAN_FILE).is_file():
        shards = [f"{FOLDER}/{split}-?????-of-?????.*" for split in FILE_SPLITS]
        remove_contents(output, (*shards, INDEX_FILE, PLAN_FILE))
        if (output / FOLDER).is_dir() and not any((output / FOLDER).iterdir()):
            (output / FOLDER).rmdir()


def _write_shard(shard: _Shard, output: Path, policy: BadImagePolicy) -> dict[str, Any]:
    """Write a shard unless it exists; return its record for the index.

    The record is written after the shard, so it marks the shard as complete. A shard with bad
    images is discarded if the policy is ``error``.
    """
    path = output / FOLDER / shard.name
    record_path = path.with_suffix(".json")
    if record_path.is_file() and path.is_file():
        record: dict[str, Any] = parse_json(record_path)
        return record
    partial = path.with_suffix(".partial")
    record = _write_posts(shard, partial, policy)
    if record["bad_images"] and policy == "error":
        partial.unlink()
        return record
    partial.replace(path)
    write_json(record_path, record)
    return record


def _write_posts(shard: _Shard, path: Path, policy: BadImagePolicy) -> dict[str, Any]:
    """Write the posts of a shard to a Parquet file; return the record of the shard."""
    record: dict[str, Any] = {
        "file": shard.name,
        SPLIT_KEY: shard.split,
        "labels": Counter(),
        "bad_images": {},
        TRUNCATED: {},
        "left_out": [],
    }
    digest = hashlib.blake2b(digest_size=16)
    with pq.ParquetWriter(path, SCHEMA, write_page_checksum=True) as writer:
        for rows in _row_groups(shard.posts, policy, record):
            writer.write_table(_table(rows))
            for row in rows:
                digest.update(canonical(row))
                record["labels"][row["label"] or ""] += 1
    return record | {"posts": record["labels"].total(), "fingerprint": digest.hexdigest()}


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    try:
        return pa.Table.from_pylist(rows, schema=SCHEMA)
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise DataError(
            f"One of the posts {rows[0]['id']} to {rows[-1]['id']} cannot be written ({error}): "
            "fix their texts."
        ) from error


def _row_groups(
    posts: Sequence[Post], policy: BadImagePolicy, record: dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """Yield rows by row group; record bad and truncated images, and posts left without content."""
    loaded = prefetch(_load, posts)
    for start in range(0, len(posts), ROW_GROUP_POSTS):
        chunk = posts[start : start + ROW_GROUP_POSTS]
        found = [next(loaded) for _ in chunk]
        facts = {i: f for i, (_, f) in enumerate(found) if f is not None}
        problems = {i: f.problem for i, f in facts.items() if f.problem}
        truncated = {i: f.truncation for i, f in facts.items() if f.truncation}
        usable = usable_posts(chunk, problems, "blank" if policy == "blank" else "drop")
        record["bad_images"] |= by_id(chunk, problems)
        record[TRUNCATED] |= by_id(chunk, truncated)
        record["left_out"] += by_id(chunk, usable.left_out)
        if usable.posts:
            pairs = zip(usable.posts, usable.positions, strict=True)
            yield [_row(post, *found[position]) for post, position in pairs]


def _load(post: Post) -> tuple[bytes | None, ImageFacts | None]:
    """Return the file of the post's image, and its facts."""
    if post.image is None:
        return None, None
    return read_and_describe(post.image)


def _row(post: Post, content: bytes | None, facts: ImageFacts | None) -> dict[str, Any]:
    is_usable = facts is not None and facts.problem is None
    name = post.image.name if isinstance(post.image, Path) else None
    return {
        "id": post.id,
        "text": post.text,
        "image": {"bytes": content, "path": name} if is_usable else None,
        "label": post.label,
        "text_label": post.text_label,
        "image_label": post.image_label,
        "attributes": list(post.attributes),
        **{f"image_{name}": facts and getattr(facts, name) for name in FACTS},
    }


def _index(
    corpus: Corpus, dataset: str, records: Sequence[Mapping[str, Any]], policy: BadImagePolicy
) -> dict[str, Any]:
    bad = {i: why for record in records for i, why in record["bad_images"].items()}
    truncated = {i: how for record in records for i, how in record.get(TRUNCATED, {}).items()}
    removed = {reason: list(ids) for reason, ids in corpus.removed.items()}
    empty = [post.id for post in corpus.posts if missing_input(post) is not None]
    empty += [post_id for record in records for post_id in record["left_out"]]
    if empty:
        removed[WITHOUT_CONTENT] = empty
    if bad and policy == "drop":
        removed[BAD_IMAGE] = list(bad)
    index = {
        "format": FORMAT,
        "source": dataset,
        "class_names": list(corpus.class_names),
        "removed": removed,
        "bad_images": bad,
        TRUNCATED: truncated,
        "encodings": {name: list(ids) for name, ids in corpus.encodings.items()},
        "shards": [{k: v for k, v in r.items() if k not in OF_POSTS} for r in records],
    }
    return index | {"fingerprint": digest_of(index)}
