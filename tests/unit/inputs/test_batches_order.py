"""The order of posts: by seed and epoch, with little padding."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvcn.inputs.batches import LengthBuckets

lengths = st.lists(st.integers(2, 64), min_size=1, max_size=200)
batch_sizes = st.integers(1, 7)


@given(lengths, batch_sizes, st.integers(0, 9), st.integers(0, 9))
def test_each_epoch_takes_each_post_once(lengths, batch_size, seed, epoch):
    buckets = LengthBuckets(lengths, batch_size, seed)
    buckets.set_epoch(epoch)
    assert sorted(buckets) == list(range(len(lengths)))
    assert len(buckets) == len(lengths)


@given(lengths, batch_sizes)
def test_the_order_is_a_function_of_seed_and_epoch(lengths, batch_size):
    one, other = (LengthBuckets(lengths, batch_size, seed=4) for _ in range(2))
    for epoch in (0, 1):
        other.set_epoch(epoch)
        next(iter(other))
    torch.manual_seed(len(lengths))
    one.set_epoch(1)
    assert list(one) == list(other) == list(other)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=120), batch_sizes, st.integers(0, 9))
def test_balanced_sampling_draws_classes_and_their_posts_equally_often(labels, batch_size, seed):
    buckets = LengthBuckets([9] * len(labels), batch_size, seed, np.array(labels))
    drawn = list(buckets)
    assert len(drawn) == len(labels)
    classes = Counter(labels[i] for i in drawn)
    assert set(classes) <= set(labels)
    counts = [classes[label] for label in set(labels)]
    assert max(counts) - min(counts) <= 1
    times = Counter(drawn)
    for label in set(labels):
        members = [times[i] for i, other in enumerate(labels) if other == label]
        assert max(members) - min(members) <= 1


def test_seeds_and_epochs_give_other_orders():
    first = list(LengthBuckets(range(100), 4, seed=0))
    assert list(LengthBuckets(range(100), 4, seed=1)) != first
    later = LengthBuckets(range(100), 4, seed=0)
    later.set_epoch(1)
    assert list(later) != first


def padding(order, lengths, batch_size):
    batches = [order[s : s + batch_size] for s in range(0, len(order), batch_size)]
    return sum(max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in batches)


def test_batches_need_a_tenth_of_the_padding_of_a_random_order():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 65, (1600,), generator=generator).tolist()
    shuffled = torch.randperm(1600, generator=generator).tolist()
    order = list(LengthBuckets(lengths, 16, seed=0))
    assert padding(order, lengths, 16) < 0.1 * padding(shuffled, lengths, 16)


def test_the_short_batch_comes_last():
    lengths = list(range(10))
    order = list(LengthBuckets(lengths, 4, seed=0))
    for batch in (order[:4], order[4:8], order[8:]):
        assert sorted(batch) == list(range(min(batch), min(batch) + len(batch)))
