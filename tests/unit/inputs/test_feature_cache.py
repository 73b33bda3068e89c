"""The cache of frozen features: complete files or none, found by content, safe to interrupt."""

import os
import resource
import threading

import numpy as np
import pytest

from mvcn.errors import RunError
from mvcn.inputs import feature_cache
from mvcn.inputs.feature_cache import FeatureCache, default_cache_root

NAMELESS = 54321
"""Number of a user whom the system does not know."""


def features(count, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((count, 5, 3)).astype("float16")


def names(count, start=0):
    return [f"{number:032x}" for number in range(start, start + count)]


def assert_holds(cache, digests, expected):
    for digest, row in zip(digests, expected, strict=True):
        assert digest in cache
        np.testing.assert_array_equal(cache[digest], row)


def assert_lacks(cache, digests):
    assert not any(digest in cache for digest in digests)


def test_what_was_added_comes_back_exactly_also_in_another_process(tmp_path):
    first = FeatureCache(tmp_path / "new" / "folder")
    first.add(names(4), features(4))
    first.add(names(2, start=4), features(2, seed=1))
    for cache in (first, FeatureCache(first.folder)):
        assert_holds(cache, names(6), [*features(4), *features(2, seed=1)])
        assert cache[names(1)[0]].dtype == np.float16


def test_features_are_mapped_not_loaded_and_cannot_be_changed(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.add(names(1), features(1))
    row = cache[names(1)[0]]
    assert isinstance(row, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        row[0] = 0


def test_more_files_than_are_open_at_a_time_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "MOST_OPEN_FILES", 2)
    FeatureCache(tmp_path).add(names(1), features(1))
    cache = FeatureCache(tmp_path)
    for number in range(1, 4):
        cache.add(names(2, start=2 * number), features(2, seed=number))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors + 4, limits[1]))
    try:
        for _ in range(2):
            assert_holds(cache, names(1), features(1))
            for number in range(1, 4):
                assert_holds(cache, names(2, start=2 * number), features(2, seed=number))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_file_that_was_deleted_is_an_error_with_advice(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.add(names(1), features(1))
    (array,) = tmp_path.glob("*.npy")
    array.unlink()
    with pytest.raises(RunError, match=rf"^{array} of the cache .* with --resume; its features"):
        cache[names(1)[0]]


def test_an_unknown_digest_is_a_key_error(tmp_path):
    with pytest.raises(KeyError):
        FeatureCache(tmp_path)["absent"]


def test_two_writers_at_once_lose_nothing(tmp_path):
    writers = [FeatureCache(tmp_path), FeatureCache(tmp_path)]

    def write(cache, start):
        for number in range(start, start + 20):
            cache.add(names(1, start=number), features(1, seed=number))

    # They overlap in half of their images.
    threads = [
        threading.Thread(target=write, args=pair) for pair in zip(writers, (0, 10), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [features(1, seed=number)[0] for number in range(30)]
    assert_holds(FeatureCache(tmp_path), names(30), expected)


@pytest.fixture
def shard(tmp_path):
    """The two files of a shard of 3 images."""
    FeatureCache(tmp_path).add(names(3), features(3))
    (array,), (digests,) = tmp_path.glob("*.npy"), tmp_path.glob("*.txt")
    return array, digests


def test_what_a_killed_process_left_is_ignored(tmp_path, shard):
    array, digests = shard
    array.with_suffix(".partial").write_bytes(array.read_bytes()[:50])
    digests.unlink()  # killed between the two renames
    cache = FeatureCache(tmp_path)
    assert_lacks(cache, names(3))


@pytest.mark.parametrize("kept_bytes", [0, 20, 150, -1])
def test_a_truncated_array_is_ignored_and_computed_anew(tmp_path, shard, kept_bytes):
    array, _ = shard
    array.write_bytes(array.read_bytes()[:kept_bytes])
    cache = FeatureCache(tmp_path)
    assert_lacks(cache, names(3))
    cache.add(names(3), features(3))
    assert_holds(FeatureCache(tmp_path), names(3), features(3))


def test_an_array_that_does_not_fit_its_digests_is_ignored(tmp_path, shard):
    np.save(shard[0], features(2))
    assert_lacks(FeatureCache(tmp_path), names(3))


def test_digests_that_are_not_text_are_ignored(tmp_path):
    FeatureCache(tmp_path).add(names(2), features(2))
    (written,) = tmp_path.glob("*.txt")
    written.write_bytes(b"\xb3\x00\xff\n" * 2)
    assert_lacks(FeatureCache(tmp_path), names(2))


def test_an_array_of_pickled_objects_is_ignored(tmp_path, shard):
    np.save(shard[0], np.array([{}, {}, {}], dtype=object), allow_pickle=True)
    assert_lacks(FeatureCache(tmp_path), names(3))


def test_the_root_is_set_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MVCN_CACHE", str(tmp_path))
    assert default_cache_root() == tmp_path
    monkeypatch.setenv("MVCN_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_root() == tmp_path / ".cache" / "mvcn"


@pytest.fixture(params=["file in its place", "file above", "read-only", "full disk"])
def unusable_folder(request, place, forbid):
    """A folder of a cache that cannot be written, and what the system says of it."""
    folder, limits = place / "cache", resource.getrlimit(resource.RLIMIT_FSIZE)
    if request.param == "read-only":
        folder.mkdir()
        forbid(folder, 0o555)
        yield folder, "Permission denied"
    elif request.param == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        yield folder, "File too large"
    else:
        folder.touch()
        is_above = request.param == "file above"
        yield (folder / "below", "Not a directory") if is_above else (folder, "File exists")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_cache_that_cannot_be_written_holds_all_in_memory(unusable_folder, caplog):
    folder, reason = unusable_folder
    cache = FeatureCache(folder)
    cache.add(names(4), features(4))
    cache.add(names(2, start=4), features(2, seed=1))
    assert_holds(cache, names(6), [*features(4), *features(2, seed=1)])
    (message,) = caplog.messages
    assert message.startswith(f"The cache {folder} cannot be used (")
    assert reason in message
    assert "set MVCN_CACHE to a folder that you can write to." in message
    assert not folder.is_dir() or list(folder.iterdir()) == []


def test_what_a_read_only_cache_has_is_used(place, forbid):
    FeatureCache(place).add(names(2), features(2))
    forbid(place, 0o555)
    cache = FeatureCache(place)
    assert_lacks(cache, names(1, start=2))
    cache.add(names(1, start=2), features(1, seed=1))
    assert_holds(cache, names(3), [*features(2), *features(1, seed=1)])


def test_files_of_a_cache_that_may_not_be_read_are_reported(place, forbid, caplog):
    FeatureCache(place).add(names(2), features(2))
    (array,) = place.glob("*.npy")
    forbid(array)
    assert_lacks(FeatureCache(place), names(2))
    (message,) = caplog.messages
    assert "1 file " in message
    assert "permission denied" in message


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a home folder")
def test_without_a_home_folder_all_is_held_in_memory(monkeypatch, caplog):
    monkeypatch.delenv("MVCN_CACHE")
    monkeypatch.delenv("HOME")
    os.setresuid(NAMELESS, NAMELESS, 0)
    try:
        assert default_cache_root() is None
    finally:
        os.setresuid(0, 0, 0)
    assert "set MVCN_CACHE to a folder" in caplog.text
    cache = FeatureCache(None)
    cache.add(names(2), features(2))
    assert_holds(cache, names(2), features(2))
