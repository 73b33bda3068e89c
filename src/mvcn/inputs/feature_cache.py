"""Features of frozen encoders in a cache on disk, found by the content of the image files.

A cache folder belongs to one encoder and one preprocessing. It holds pairs of files: an array of
features, which is memory-mapped, and the content digests of their images. Each file is renamed
into place when complete, so a killed process leaves no partial one, several processes can write at
once without locks, and an image that is cached twice only costs disk space.
"""

import logging
import os
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mvcn.errors import RunError, count_of, reason_of

LOG = logging.getLogger(__name__)
CACHE_VARIABLE = "MVCN_CACHE"
IN_MEMORY = (
    f"features are kept in memory and recomputed next time; set {CACHE_VARIABLE} to a folder that "
    "you can write to"
)
MOST_OPEN_FILES = 256
"""Cache files that are mapped at a time: systems limit open files, often to 1,024."""


class FeatureCache:
    """Token features of images, by the digest of the content of the image file.

    Few of its files are open at a time, however many there are.

    Args:
        folder: Folder of the cache files. If it is None or not writable, features are held in
            memory; a warning is logged for the latter.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._is_writable = folder is not None
        self._sources: list[Path | np.ndarray] = []
        """Cache files, and arrays that could not be written into one."""
        self._starts = [0]
        """Place of the first image of each source, and of the next one."""
        self._places: dict[str, int] = {}
        self._mapped = lru_cache(MOST_OPEN_FILES)(_mapped)
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                kept = sorted(folder.glob("*.txt"))
            except OSError as error:
                self._hold_in_memory(folder, error)
            else:
                self._open_all(folder, kept)

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    def __getitem__(self, digest: str) -> Float[np.ndarray, "patch dim"]:
        """Return a read-only view of one image's features; they are loaded on access."""
        return self.at(self._places[digest])

    def place(self, digest: str) -> int:
        """Return the number of an image's features, by which `at` finds them."""
        return self._places[digest]

    def at(self, place: int) -> Float[np.ndarray, "patch dim"]:
        """Return what `__getitem__` returns for the digest with this place.

        Raises:
            RunError: The cache file was deleted.
        """
        number = bisect_right(self._starts, place) - 1
        source = self._sources[number]
        try:
            array = self._mapped(source) if isinstance(source, Path) else source
        except OSError as error:
            raise RunError(
                f"{source} of the cache can no longer be read ({reason_of(error)}): run the "
                "command again, a training with --resume; its features are then recomputed."
            ) from error
        features: np.ndarray = array[place - self._starts[number]]
        return features

    def add(self, digests: Sequence[str], features: Float[np.ndarray, "batch patch dim"]) -> None:
        """Write a cache file; it counts once its digests are written, which is last."""
        if self.folder is not None and self._is_writable:
            try:
                array = _write_cache_file(self.folder, digests, features)
            except OSError as error:
                self._hold_in_memory(self.folder, error)
            else:
                self._append(array, digests)
                return
        self._append(features, digests)

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
                "%s of the cache %s cannot be read (permission denied), so features are "
                "recomputed: set %s to a folder of your own.",
                count_of(forbidden, "file"),
                folder,
                CACHE_VARIABLE,
            )

    def _open(self, names: Path) -> None:
        """Add a cache file; an incomplete one counts as missing and is recomputed."""
        digests = names.read_text("ascii", errors="replace").split()
        array = names.with_suffix(".npy")
        try:
            count = len(_mapped(array))
        except PermissionError:
            raise
        except (OSError, ValueError, EOFError):
            return
        if count == len(digests):
            self._append(array, digests)

    def _append(self, source: Path | np.ndarray, digests: Sequence[str]) -> None:
        start = self._starts[-1]
        self._sources.append(source)
        self._starts.append(start + len(digests))
        self._places.update((digest, start + row) for row, digest in enumerate(digests))


def default_cache_root() -> Path | None:
    """Return the folder for caches: ``$MVCN_CACHE``, else ``~/.cache/mvcn``.

    Without a home folder it is None, and a warning is logged.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    try:
        return Path.home() / ".cache" / "mvcn"
    except RuntimeError:
        LOG.warning("There is no home folder for a cache: %s.", IN_MEMORY)
        return None


def warn_of_cache(folder: Path, error: Exception) -> None:
    """Warn that a cache cannot be used, and what happens instead."""
    LOG.warning("The cache %s cannot be used (%s): %s.", folder, reason_of(error), IN_MEMORY)


def _mapped(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="r")
    return array


def _write_cache_file(folder: Path, digests: Sequence[str], features: np.ndarray) -> Path:
    """Write a cache file and return the path of its array; leave nothing after an error."""
    stem = uuid.uuid4().hex
    partial, array = folder / f"{stem}.partial", folder / f"{stem}.npy"
    try:
        with partial.open("wb") as file:
            np.save(file, features)
        partial.rename(array)
        partial.write_text("\n".join(digests), "ascii")
        partial.rename(array.with_suffix(".txt"))
        return array
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
            array.unlink(missing_ok=True)
        raise
