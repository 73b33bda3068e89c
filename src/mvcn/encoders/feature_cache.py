"""Features of frozen encoders, computed once and read from memory-mapped files.

A cache folder belongs to one encoder and one preprocessing. It holds shards: an array of features
and, beside it, the content digests of the images they belong to. A shard appears by one rename
when it is complete, so a killed process leaves nothing half-written, several processes can write
at once without locks, and the same image found twice costs only disk.
"""

import hashlib
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedModel

CACHE_VARIABLE = "MVCN_CACHE"
FORMAT = b"1"


def default_cache_root() -> Path:
    """Return the folder for caches: ``$MVCN_CACHE``, else ``~/.cache/mvcn``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "mvcn")


def encoder_fingerprint(encoder: PreTrainedModel, image_processor: Any) -> str:
    """Return a digest of all that decides a feature: weights, sizes and preprocessing."""
    digest = hashlib.blake2b(FORMAT, digest_size=16)
    digest.update(encoder.config.model_type.encode())
    digest.update(image_processor.to_json_string().encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


class FeatureCache:
    """Token features of images, found by the digest of the image file's content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, tuple[np.ndarray, int]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for names in sorted(folder.glob("*.txt")):
            self._open(names)

    def __contains__(self, digest: str) -> bool:
        return digest in self._rows

    def __getitem__(self, digest: str) -> Float[np.ndarray, "patch dim"]:
        """Return a read-only view of one image's features; nothing is loaded before use."""
        array, row = self._rows[digest]
        features: np.ndarray = array[row]
        return features

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return the distinct digests that have no features yet, in order."""
        return [digest for digest in dict.fromkeys(digests) if digest not in self]

    def add(self, digests: Sequence[str], features: Float[np.ndarray, "batch patch dim"]) -> None:
        """Write one shard; the file of digests comes last and makes it count."""
        stem = uuid.uuid4().hex
        partial = self.folder / f"{stem}.partial"
        with partial.open("wb") as file:
            np.save(file, features)
        partial.rename(self.folder / f"{stem}.npy")
        partial.write_text("\n".join(digests), "ascii")
        names = partial.rename(self.folder / f"{stem}.txt")
        self._open(names)

    def _open(self, names: Path) -> None:
        """Map one shard; one that is not whole counts as absent and is computed anew."""
        digests = names.read_text("ascii", errors="replace").split()
        try:
            array = np.load(names.with_suffix(".npy"), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return
        if len(array) == len(digests):
            self._rows.update((digest, (array, row)) for row, digest in enumerate(digests))
