"""Features of frozen encoders, computed once and read from memory-mapped files.

A cache folder belongs to one encoder and one preprocessing. It holds pairs of files: an array of
features, and the content digests of their images. A file appears by one rename when it is complete,
so a killed process leaves no partial one, several processes can write at once without locks, and
an image that is found twice costs only disk.
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedModel

from mvcn.errors import reason_of

LOG = logging.getLogger(__name__)
CACHE_VARIABLE = "MVCN_CACHE"
IN_MEMORY = (
    "what it would keep is held in memory and computed anew next time; set "
    f"{CACHE_VARIABLE} to a folder that can be written"
)
FORMAT = b"1"


def default_cache_root() -> Path | None:
    """Return the folder for caches: ``$MVCN_CACHE``, else ``~/.cache/mvcn``.

    Without a home folder it is None, which is logged as a warning.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    try:
        return Path.home() / ".cache" / "mvcn"
    except RuntimeError:
        LOG.warning("You have no home folder for a cache: %s.", IN_MEMORY)
        return None


def warn_of_cache(folder: Path, error: Exception) -> None:
    """Log that a cache cannot be used, and what happens instead."""
    LOG.warning("The cache %s cannot be used (%s): %s.", folder, reason_of(error), IN_MEMORY)


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
    """Token features of images, found by the digest of the image file's content.

    Args:
        folder: Where they are kept. Without one, and where it cannot be written, they are held in
            memory; the latter is logged as a warning.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._is_writable = folder is not None
        self._rows: dict[str, tuple[np.ndarray, int]] = {}
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                kept = sorted(folder.glob("*.txt"))
            except OSError as error:
                self._hold_in_memory(folder, error)
            else:
                self._open_all(folder, kept)

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
        """Write one cache file; its digests come last and make it count."""
        if self.folder is not None and self._is_writable:
            try:
                self._open(_write(self.folder, digests, features))
            except OSError as error:
                self._hold_in_memory(self.folder, error)
            else:
                return
        self._rows.update((digest, (features, row)) for row, digest in enumerate(digests))

    def _hold_in_memory(self, folder: Path, error: OSError) -> None:
        self._is_writable = False
        warn_of_cache(folder, error)

    def _open_all(self, folder: Path, kept: Sequence[Path]) -> None:
        forbidden = 0
        for names in kept:
            try:
                self._open(names)
            except PermissionError:
                forbidden += 1
        if forbidden:
            LOG.warning(
                "%d file(s) of the cache %s cannot be read (permission denied), so their features "
                "are computed anew: set %s to a folder of your own.",
                forbidden,
                folder,
                CACHE_VARIABLE,
            )

    def _open(self, names: Path) -> None:
        """Map one cache file; one that is not complete counts as absent and is computed anew."""
        digests = names.read_text("ascii", errors="replace").split()
        try:
            array = np.load(names.with_suffix(".npy"), mmap_mode="r")
        except PermissionError:
            raise
        except (OSError, ValueError, EOFError):
            return
        if len(array) == len(digests):
            self._rows.update((digest, (array, row)) for row, digest in enumerate(digests))


def _write(folder: Path, digests: Sequence[str], features: np.ndarray) -> Path:
    """Write a cache file and return its file of digests; on an error nothing is left of it."""
    stem = uuid.uuid4().hex
    partial, array = folder / f"{stem}.partial", folder / f"{stem}.npy"
    try:
        with partial.open("wb") as file:
            np.save(file, features)
        partial.rename(array)
        partial.write_text("\n".join(digests), "ascii")
        return partial.rename(folder / f"{stem}.txt")
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
            array.unlink(missing_ok=True)
        raise
