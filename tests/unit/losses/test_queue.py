"""The centroid queue against a deque, and against re-summing what it stores."""

import time
from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvcn.errors import DataError, MvcnError
from mvcn.losses.queue import CentroidQueue

pytestmark = pytest.mark.usefixtures("code")

batch_sizes = st.lists(st.integers(0, 25), min_size=1, max_size=30)


def draw(batch, dim=3, num_classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (batch,), generator=generator)
    return torch.randn(batch, dim, generator=generator), labels


def fill(queue, sizes, seed=0):
    for index, size in enumerate(sizes):
        queue.enqueue(*draw(size, queue.features.shape[1], seed=1000 * seed + index))
    return queue


def means_of(posts, num_classes=3, dim=3):
    """Return class means and counts of (feature, label) pairs, summed from nothing."""
    means, counts = np.zeros((num_classes, dim)), np.zeros(num_classes, dtype=int)
    for k in range(num_classes):
        own = [feature for feature, label in posts if label == k]
        counts[k] = len(own)
        means[k] = np.mean(own, axis=0) if own else 0
    return means, counts


def assert_same_state(one, other):
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert a.dtype == b.dtype, name
        assert torch.equal(a, b), name


@given(size=st.integers(1, 11), sizes=batch_sizes)
def test_agrees_with_a_deque_of_posts(size, sizes):
    queue, posts = CentroidQueue(size, 3, 3), deque(maxlen=size)
    for index, batch in enumerate(sizes):
        features, labels = draw(batch, seed=index)
        queue.enqueue(features, labels)
        posts.extend(zip(features.double().numpy(), labels.tolist(), strict=True))
        means, counts = means_of(posts)
        centroids, actual_counts = queue.centroids()
        np.testing.assert_allclose(centroids.numpy(), means, atol=1e-6, rtol=0)
        assert actual_counts.tolist() == counts.tolist()
        assert queue.num_filled() == len(posts)
        assert queue.is_full() == (len(posts) == size)


@given(size=st.integers(1, 11), sizes=batch_sizes)
def test_sums_agree_with_summing_the_stored_rows(size, sizes):
    queue = fill(CentroidQueue(size, 3, 3), sizes)
    for k in range(3):
        own = queue.features[queue.labels == k].double()
        torch.testing.assert_close(queue.class_sums[k], own.sum(0), atol=1e-12, rtol=0)
        assert queue.counts[k] == len(own)


def assert_summarised(queue, min_samples=1, tolerance=1e-12):
    """Number, mean and scatter are those of the rows that the queue stores."""
    own = [queue.features[queue.labels == k].double() for k in range(queue.num_classes)]
    least = 1 if queue.is_full() else min_samples
    centroids = [rows.mean(0) for rows in own if len(rows) >= least]
    known = torch.stack(centroids) if centroids else queue.mean.new_zeros(0, len(queue.mean))
    mean = known.mean(0) if centroids else torch.zeros_like(queue.mean)
    scatter = (known - mean).square().sum()
    size = queue.features.abs().max().item()
    assert queue.num_known == len(known)
    torch.testing.assert_close(queue.mean, mean, rtol=0, atol=tolerance * size)
    torch.testing.assert_close(queue.scatter, scatter, rtol=tolerance, atol=tolerance * size)


@given(size=st.integers(1, 11), sizes=batch_sizes, min_samples=st.sampled_from([1, 2, 4]))
def test_the_summary_is_that_of_the_stored_rows(size, sizes, min_samples):
    queue = CentroidQueue(size, 3, 3, min_samples)
    for index, batch in enumerate(sizes):
        queue.enqueue(*draw(batch, seed=index))
        assert_summarised(queue, min_samples)


def test_the_summary_follows_many_classes_of_which_few_are_stored():
    queue = CentroidQueue(40, 3, 500)
    for index in range(60):
        queue.enqueue(*draw(7, num_classes=500, seed=index))
        assert_summarised(queue)


def test_the_oldest_posts_leave_first():
    queue = CentroidQueue(3, 1, 2)
    for number in range(1, 6):
        queue.enqueue(torch.tensor([[float(number)]]), torch.tensor([number % 2]))
    # Left are 3, 4, 5: class 0 has 4, class 1 has 3 and 5.
    centroids, counts = queue.centroids()
    assert centroids.tolist() == [[4.0], [4.0]]
    assert counts.tolist() == [1, 2]
    assert sorted(queue.features[:, 0].tolist()) == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("already", [0, 2, 4])
def test_of_a_batch_larger_than_the_queue_the_last_posts_stay(already):
    queue = fill(CentroidQueue(4, 3, 3), [already])
    features, labels = draw(11, seed=7)
    queue.enqueue(features, labels)
    stored = sorted(zip(queue.features.tolist(), queue.labels.tolist(), strict=True))
    assert stored == sorted(zip(features[-4:].tolist(), labels[-4:].tolist(), strict=True))


def test_rounding_does_not_survive_a_lap():
    # 1e16 swallows the ones added to it: 1e16 + 1 = 1e16 in float64, and 1e16 - 1e16 + 1 differs.
    queue, one = CentroidQueue(4, 1, 1), torch.ones(1, 1)
    queue.enqueue(torch.full((1, 1), 1e16), torch.tensor([0]))
    for _ in range(3 + 4):
        queue.enqueue(one, torch.tensor([0]))
    assert queue.class_sums.item() == 4
    assert queue.centroids()[0].item() == 1


def test_rounding_of_the_summary_does_not_survive_a_lap():
    queue = CentroidQueue(4, 1, 2)
    queue.enqueue(torch.full((1, 1), 1e16), torch.tensor([0]))
    for index in range(3 + 4):
        queue.enqueue(torch.tensor([[2.0 * (index % 2)]]), torch.tensor([index % 2]))
    assert (queue.num_known.item(), queue.mean.item(), queue.scatter.item()) == (2, 1, 2)


def test_nothing_of_a_class_that_has_left_survives():
    queue, one = CentroidQueue(4, 1, 2), torch.ones(1, 1)
    queue.enqueue(torch.full((1, 1), 1e16), torch.tensor([1]))
    queue.enqueue(one, torch.tensor([1]))
    for label in (0, 0, 0, 0, 0, 0, 0, 0, 1):
        queue.enqueue(one, torch.tensor([label]))
    assert queue.class_sums.flatten().tolist() == [3, 1]


def test_no_drift_after_many_laps():
    queue = CentroidQueue(50, 3, 3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        features = torch.randn(7, 3, generator=generator) * 1e4
        queue.enqueue(features, torch.randint(3, (7,), generator=generator))
    for k in range(3):
        exact = queue.features[queue.labels == k].double().sum(0)
        torch.testing.assert_close(queue.class_sums[k], exact, atol=1e-9, rtol=0)


def test_stored_features_are_constants():
    queue, (features, labels) = CentroidQueue(4, 3, 3), draw(4)
    features.requires_grad_()
    queue.enqueue(features * 2, labels)
    assert not any(buffer.requires_grad for buffer in queue.buffers())
    assert not queue.centroids()[0].requires_grad


def test_what_centroids_returned_does_not_change_later():
    queue = fill(CentroidQueue(4, 3, 3), [4])
    centroids, counts = queue.centroids()
    before = centroids.clone(), counts.clone()
    fill(queue, [3], seed=5)
    assert torch.equal(centroids, before[0])
    assert torch.equal(counts, before[1])


@pytest.mark.parametrize("done", [[2], [5, 5, 1], [3, 9, 4, 4]])
def test_a_restored_queue_continues_identically(done):
    original = fill(CentroidQueue(7, 3, 3), done)
    restored = CentroidQueue(7, 3, 3)
    restored.load_state_dict({name: t.clone() for name, t in original.state_dict().items()})
    for queue in (original, restored):
        fill(queue, [3, 5, 2, 6], seed=9)
    assert_same_state(original, restored)


@pytest.mark.parametrize("done", [[], [2], [5, 5, 1], [3, 9, 4, 4]])
def test_a_state_of_an_earlier_version_has_no_summary_and_is_loaded(done):
    original = fill(CentroidQueue(7, 3, 3), done)
    state = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    for name in ("num_known", "mean", "scatter"):
        del state[name]
    restored = torch.nn.ModuleDict({"queue": fill(CentroidQueue(7, 3, 3), [9])})
    restored.load_state_dict({f"queue.{name}": tensor for name, tensor in state.items()})
    assert_summarised(restored["queue"])
    assert_same_state(fill(original, [7]), fill(restored["queue"], [7]))


def test_a_state_with_sums_of_a_lap_is_loaded():
    original = fill(CentroidQueue(7, 3, 3), [5, 5, 1])
    state = {**original.state_dict(), "lap_sums": torch.ones(3, 3, dtype=torch.float64)}
    restored = CentroidQueue(7, 3, 3)
    restored.load_state_dict(state)
    assert_same_state(original, restored)


@pytest.mark.parametrize(("saved", "loaded"), [(1, 4), (4, 1), (4, 4)])
def test_which_classes_count_is_decided_where_a_state_is_loaded(saved, loaded):
    original = fill(CentroidQueue(20, 3, 3, min_samples_per_class=saved), [5, 6])
    restored = CentroidQueue(20, 3, 3, min_samples_per_class=loaded)
    restored.load_state_dict(original.state_dict())
    assert restored.num_known == (restored.counts >= loaded).sum()
    assert_summarised(restored, loaded)


def test_a_state_without_sums_is_refused():
    state = CentroidQueue(7, 3, 3).state_dict()
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"mean\""):
        CentroidQueue(7, 3, 3).load_state_dict({k: v for k, v in state.items() if k != "mean"})
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict"):
        CentroidQueue(7, 3, 3).load_state_dict({})


def test_reset_forgets_everything():
    queue = fill(CentroidQueue(7, 3, 3), [5, 5])
    queue.reset()
    assert_same_state(queue, CentroidQueue(7, 3, 3))
    assert queue.num_filled() == 0


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double", "float"])
def test_casting_a_model_leaves_the_queue_as_it_is(cast):
    queue, untouched = fill(CentroidQueue(7, 3, 3), [5, 5]), fill(CentroidQueue(7, 3, 3), [5, 5])
    model = torch.nn.Sequential(queue)
    getattr(model, cast)()
    assert_same_state(queue, untouched)


def test_moves_to_another_device_and_can_be_made_empty_there():
    queue = fill(CentroidQueue(7, 3, 3), [5]).to("meta")
    assert queue.class_sums.device.type == "meta"
    assert queue.to_empty(device="cpu").class_sums.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_takes_features_of_any_precision(dtype):
    features, labels = draw(5)
    queue, expected = CentroidQueue(7, 3, 3), CentroidQueue(7, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        queue.enqueue(features.to(dtype), labels)
    expected.enqueue(features.to(dtype).float(), labels)
    assert_same_state(queue, expected)


@pytest.mark.parametrize("label", [-1, 3])
def test_refuses_a_label_that_is_no_class(label):
    queue, (features, labels) = CentroidQueue(7, 3, 3), draw(5)
    labels[2] = label
    with pytest.raises(DataError, match=f"Post 2 of the batch has label {label}"):
        queue.enqueue(features, labels)
    assert_same_state(queue, CentroidQueue(7, 3, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_features_that_are_not_finite(value):
    queue, (features, labels) = CentroidQueue(7, 3, 3), draw(5)
    features[1, 1] = value
    with pytest.raises(MvcnError, match="training has diverged"):
        queue.enqueue(features, labels)
    assert_same_state(queue, CentroidQueue(7, 3, 3))


def best_step_seconds(queue, steps=60):
    """Return the least time of one update, which a busy computer disturbs least."""
    features, labels = draw(16, queue.features.shape[1], queue.num_classes)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        queue.enqueue(features, labels)
        queue.compare(labels)
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.slow
def test_a_step_costs_the_same_whatever_the_size():
    dim = 64
    small, large = CentroidQueue(3600, dim, 3), CentroidQueue(1_000_000, dim, 3)
    ratios = [best_step_seconds(large) / best_step_seconds(small) for _ in range(3)]
    assert min(ratios) < 1.5


@pytest.mark.slow
def test_three_thousand_times_as_many_classes_cost_a_few_cache_misses():
    few, many = (CentroidQueue(3600, 64, classes) for classes in (3, 10_000))
    generator = torch.Generator().manual_seed(0)
    for queue in (few, many):
        labels = torch.randint(queue.num_classes, (3600,), generator=generator)
        queue.enqueue(torch.randn(3600, 64, generator=generator), labels)
    ratios = [best_step_seconds(many) / best_step_seconds(few) for _ in range(3)]
    assert min(ratios) < 1.5


class LargestResult(torch.utils._python_dispatch.TorchDispatchMode):
    """The size of the largest result of any operation; views do not count."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        changed = args[0] if func._schema.is_mutable and isinstance(result, torch.Tensor) else None
        is_storage = isinstance(result, torch.Tensor) and (result._is_view() or result is changed)
        if isinstance(result, torch.Tensor) and not is_storage:
            self.elements = max(self.elements, result.numel())
        return result


def test_a_step_touches_no_tensor_as_long_as_the_queue(monkeypatch):
    # Counted, not timed: sizes of all results of operations within two laps.
    monkeypatch.setattr("mvcn.losses.queue.ROWS_AT_ONCE", 7)
    queue = CentroidQueue(1000, 2, 3)
    with LargestResult() as largest:
        for index in range(300):
            queue.enqueue(*draw(7, 2, seed=index))
            queue.centroids()
    assert queue.is_full()
    assert largest.elements <= 7 * 2 * 2


def test_a_step_within_a_lap_touches_no_tensor_as_long_as_the_classes():
    queue = fill(CentroidQueue(1000, 2, 5000), [1000])
    with LargestResult() as largest:
        for index in range(100):
            queue.enqueue(*draw(7, 2, num_classes=5000, seed=index))
            queue.compare(draw(7, 2, num_classes=5000, seed=index + 1)[1])
    assert largest.elements <= 4 * 7 * 2  # old and new centroids of the old and new posts' classes
