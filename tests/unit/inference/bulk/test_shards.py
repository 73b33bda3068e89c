"""Shards cut the rows of a job's files: each row is in one of them."""

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from mvcn.data.stored_files import StoredFile, find_row_files
from mvcn.inference.bulk.shards import InputFile, read_footers, split_into_shards

files = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=5)


def inputs_of(sizes):
    return [
        InputFile(StoredFile(LocalFileSystem(), f"/in/{n}.parquet", f"{n}", 1), tuple(rows), "")
        for n, rows in enumerate(sizes)
    ]


@given(files, st.integers(1, 20))
def test_each_row_is_in_one_shard_and_no_shard_waits_for_more_than_it_needs(sizes, least):
    shards = split_into_shards(inputs_of(sizes), least)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    for number, rows in enumerate(sizes):
        its = [shard for shard in shards if shard.file.path == f"/in/{number}.parquet"]
        assert [group for shard in its for group in shard.row_groups] == list(range(len(rows)))
        assert its  # a file without rows has one, too
        start = 1
        for shard in its:
            counts = [rows[group] for group in shard.row_groups]
            assert (shard.first_row, shard.rows) == (start, sum(counts))
            assert shard.rows >= least or shard is its[-1]
            assert sum(counts[:-1]) < least
            start += shard.rows


def test_names_are_those_of_files_whatever_the_input_is_called():
    odd = StoredFile(LocalFileSystem(), "/in/a b*ü\n" + "x" * 200 + ".parquet", "a", 1)
    (shard,) = split_into_shards([InputFile(odd, (3,), "")], 9)
    assert shard.name == "000000-a_b___" + "x" * 94


def test_the_digest_of_a_footer_changes_with_the_values(tmp_path):
    digests = []
    for text in ("a", "b", "a"):
        pq.write_table(pa.table({"text": [text]}), tmp_path / "p.parquet")
        found = read_footers(find_row_files([str(tmp_path)]), {"text": "text"})
        digests.append(found[0].digest)
    assert digests[0] == digests[2] != digests[1]
