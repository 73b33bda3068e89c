"""Jobs over Parquet files that are killed: each row is in the output once, finished ones stay."""

import pytest

from scripts.studies.bulk_faults import Job, count, kill_job, kill_worker, write_posts
from tests.system.ray_engine import needs_ray


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    return write_posts(tmp_path_factory.mktemp("faults") / "posts", files=16, rows=24)


@pytest.fixture(scope="module")
def undisturbed(exported_run, posts, tmp_path_factory):
    """A job of the same command, since another process may round its last bits differently."""
    folder = tmp_path_factory.mktemp("undisturbed") / "job"
    job = Job(exported_run, posts, folder, "local", ("--jobs", "1"))
    code, said = job.end(job.start())
    assert code == 0, said
    return job


def test_a_killed_job_resumes_where_it_was(undisturbed, tmp_path):
    job = Job(undisturbed.run, undisturbed.posts, tmp_path / "job", "local", ("--jobs", "1"))
    found = kill_job(job)
    assert found["shards_before"] < 16
    assert found["scored_again"] == 0
    assert f"{16 - found['shards_before']} of 16 shards now" in found["said"]
    assert count(job, undisturbed) == {
        "rows_out": 384,
        "rows_twice": 0,
        "as_if_nothing_had_happened": True,
    }


@needs_ray
def test_ray_finishes_a_job_though_a_worker_is_killed(undisturbed, tmp_path):
    job = Job(undisturbed.run, undisturbed.posts, tmp_path / "job", "ray", ("--jobs", "1"))
    found = kill_worker(job)
    assert found["finished_by_itself"], found["said"]
    assert found["scored_again"] == 0
    assert count(job, undisturbed)["as_if_nothing_had_happened"]
