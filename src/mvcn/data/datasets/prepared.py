"""Prepared datasets: a folder of Parquet files that every command reads.

Images are the original files, byte for byte, so that scores do not change; their facts are stored
with them, so that they need not be decoded again. The columns are also those that the library
`datasets` of Hugging Face expects.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from mvcn.data.formats.columns import ANNOTATIONS
from mvcn.data.images import SECONDS_UNSEEN
from mvcn.data.split_names import SPLITS, keep_splits
from mvcn.data.stored_images import ParquetImage
from mvcn.errors import DataError, reason_of
from mvcn.files import why_not_allowed
from mvcn.types import Corpus, ImageFacts, Post

FORMAT = 1
INDEX_FILE = "dataset.json"
PLAN_FILE = "plan.json"
"""Exists while the folder is being written, and identifies the posts."""
FOLDER = "data"
UNSPLIT = "posts"
"""Name of the files of posts of no split."""
FILE_SPLITS = (*SPLITS, UNSPLIT)
SPLIT_KEY = "part"
"""Key of the index: which of `FILE_SPLITS` a file belongs to."""
TRUNCATED = "truncated_images"
"""Key of the index: id of a post -> remark on its truncated image."""
FACTS = ("digest", "width_px", "height_px", "perceptual_hash", "contrast", "problem")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("label", pa.string()),
        ("text_label", pa.string()),
        ("image_label", pa.string()),
        ("attributes", pa.list_(pa.string())),
        ("image_digest", pa.string()),
        ("image_width_px", pa.int32()),
        ("image_height_px", pa.int32()),
        ("image_perceptual_hash", pa.uint64()),
        ("image_contrast", pa.float64()),
        ("image_problem", pa.string()),
    ],
    # Marks the column as images for the library `datasets`.
    metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
)


def read_prepared(root: Path, *, splits: Collection[str] | None = None) -> Corpus:
    """Read a folder written by `prepare`; images are read on demand.

    Args:
        root: The folder.
        splits: Which of ``train``, ``dev``, ``test`` to read, if there are splits; by default all.

    Raises:
        DataError: Not such a folder, or an incomplete one.
    """
    index = _read_index(root)
    try:
        others: Counter[str] = Counter()
        truncated = index.get(TRUNCATED, {})
        rows: list[tuple[Post, ImageFacts | None]] = []
        for record in tqdm(index["shards"], "Files", unit="file", delay=SECONDS_UNSEEN):
            if splits is None or record[SPLIT_KEY] in (*splits, UNSPLIT):
                rows += _read_shard(root / FOLDER / str(record["file"]), record, truncated)
            else:
                others[str(record[SPLIT_KEY])] += int(record["posts"])
        faulty = {post.id: facts for post, facts in rows if facts is not None and facts.problem}
        removed, encodings = (
            {str(reason): tuple(ids) for reason, ids in index[key].items()}
            for key in ("removed", "encodings")
        )
        names = tuple(index["class_names"])
        posts = [post for post, _ in rows]
        corpus = Corpus(posts, names, removed, encodings, faulty, other_splits=others)
        return keep_splits(corpus, splits, str(root))
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(root / INDEX_FILE, f"{type(error).__name__}: {error}") from error


def _read_index(root: Path) -> Mapping[str, Any]:
    path = root / INDEX_FILE
    if (root / PLAN_FILE).is_file():
        raise DataError(
            f"{root} is not finished: run the same mvcn prepare command again to continue."
        )
    if not path.is_file():
        raise DataError(
            f"{root} has no {INDEX_FILE}, so it holds no prepared posts: prepare them with mvcn "
            f"prepare --output {root}."
        )
    index = parse_json(path)
    if index.get("format") != FORMAT:
        raise DataError(f"{path} was written by another version of mvcn: run mvcn prepare again.")
    if index.get("fingerprint") != digest_of(index):
        raise _damaged(path, "it was changed after it was written")
    return index


def _read_shard(
    path: Path, record: Mapping[str, Any], truncated: Mapping[str, str]
) -> Iterator[tuple[Post, ImageFacts | None]]:
    """Yield each post of a file and the facts of its image, without reading images."""
    if "/" in str(record["file"]) or not path.is_file():
        raise DataError(f"{path} is missing: run mvcn prepare again.")
    columns = [name for name in SCHEMA.names if name != "image"]
    split = None if record[SPLIT_KEY] == UNSPLIT else str(record[SPLIT_KEY])
    digest = hashlib.blake2b(digest_size=16)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.metadata.num_rows != record["posts"] or file.schema_arrow.names != SCHEMA.names:
                raise _damaged(path, "its content has changed")
            groups = range(file.num_row_groups)
            tables = (file.read_row_group(group, columns=columns) for group in groups)
            rows = (
                (g, n, row) for g, t in enumerate(tables) for n, row in enumerate(t.to_pylist())
            )
            for number, (group, above, row) in enumerate(rows, start=1):
                digest.update(canonical(row))
                yield _post(row, ParquetImage(path, group, above, number=number), split, truncated)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise _damaged(path, reason_of(error)) from error
    if digest.hexdigest() != record["fingerprint"]:
        raise _damaged(path, "its posts have changed")


def _post(
    row: Mapping[str, Any], place: ParquetImage, split: str | None, truncated: Mapping[str, str]
) -> tuple[Post, ImageFacts | None]:
    has_facts = row["image_digest"] is not None
    stated = {name: row[f"image_{name}"] for name in FACTS}
    facts = ImageFacts(**stated, truncation=truncated.get(row["id"])) if has_facts else None
    has_image = facts is not None and facts.problem is None
    label, text_label, image_label = (row[kind] and sys.intern(row[kind]) for kind in ANNOTATIONS)
    post = Post(
        row["id"],
        row["text"],
        replace(place, facts=facts) if has_image else None,
        *(label, text_label, image_label),
        tuple(map(sys.intern, row["attributes"])),
        split,
    )
    return post, facts


def canonical(row: Mapping[str, Any]) -> bytes:
    """Return a row as bytes for a digest, with its image replaced by the image's digest."""
    return repr([row[name] for name in SCHEMA.names if name != "image"]).encode()


def digest_of(index: Mapping[str, Any]) -> str:
    """Return a digest of an index without its own digest; it covers those of all shards."""
    content = {key: value for key, value in index.items() if key != "fingerprint"}
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def parse_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file written by `prepare`, or raise a DataError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, reason_of(error)) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no mapping")
    return content


def _damaged(path: Path, why: str) -> DataError:
    if (forbidden := why_not_allowed(path)) is not None:
        return DataError(f"{path} {forbidden}")
    return DataError(f"{path} is damaged ({why}): run mvcn prepare again.")
