"""Processes that train together."""

import pytest
from torch.utils.data import SequentialSampler

from mvcn.errors import ConfigError
from mvcn.training.distributed import RankBatchSampler, check_batch_size, rank_batch


def test_no_process_may_go_without_posts():
    check_batch_size(4, 4)
    with pytest.raises(ConfigError, match="is 4, but 5 processes share each batch"):
        check_batch_size(4, 5)


@pytest.mark.parametrize("size", range(9))
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_rank_batches_are_neighbours_of_like_size_and_make_up_the_batch(size, processes):
    shares = [rank_batch(range(size), rank, processes) for rank in range(processes)]
    assert [post for share in shares for post in share] == list(range(size))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_processes_take_as_many_steps_as_one():
    shares = [list(RankBatchSampler(SequentialSampler(range(11)), 5, rank, 2)) for rank in range(2)]
    assert shares == [[[0, 1, 2], [5, 6, 7], [10]], [[3, 4], [8, 9], []]]
