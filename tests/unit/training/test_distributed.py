"""Rank batches: every post is in one of them, and every process takes as many steps."""

import pytest
from torch.utils.data import SequentialSampler

from mvcn.errors import ConfigError
from mvcn.training.distributed import RankBatchSampler, check_batch_size, rank_batch


@pytest.mark.parametrize("size", range(9))
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_rank_batches_are_slices_of_like_size_and_make_up_the_batch(size, processes):
    slices = [rank_batch(range(size), rank, processes) for rank in range(processes)]
    assert [post for one in slices for post in one] == list(range(size))
    sizes = [len(one) for one in slices]
    assert max(sizes) - min(sizes) <= 1


def test_processes_take_as_many_steps_as_one():
    order = SequentialSampler(range(11))
    batches = [list(RankBatchSampler(order, 5, rank, 2)) for rank in range(2)]
    assert batches == [[[0, 1, 2], [5, 6, 7], [10]], [[3, 4], [8, 9], []]]


def test_no_process_may_go_without_posts():
    check_batch_size(4, 4)
    with pytest.raises(ConfigError, match="is 4, but 5 processes share each batch"):
        check_batch_size(4, 5)
