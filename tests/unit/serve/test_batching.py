"""Laws of the queue before the model."""

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.serve.batching import Work, WorkQueue
from mvcn.serve.limits import TooManyRequestsError

requests = st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=7), max_size=9)


class Doubling:
    """Work that doubles numbers, and remembers what it was given together."""

    def __init__(self, batch_size, gate=None):
        self.batches = []
        self.threads = set()
        self.gate = gate
        self.work = Work(self.run, batch_size)

    def run(self, items):
        if self.gate is not None:
            self.gate.wait(5)
        self.batches.append(list(items))
        self.threads.add(threading.get_ident())
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


async def with_queue(use, capacity=1000, max_wait=0.01):
    queue = WorkQueue(capacity, max_wait)
    queue.start()
    try:
        return await use(queue)
    finally:
        await queue.close()


def run(use, **settings):
    return asyncio.run(with_queue(use, **settings))


@given(requests, st.integers(1, 5))
def test_each_caller_gets_its_own_results_in_its_order(lists, batch_size):
    doubling = Doubling(batch_size)

    async def use(queue):
        return await asyncio.gather(*(queue.submit(doubling.work, items) for items in lists))

    assert run(use, max_wait=0.0) == [[2 * item for item in items] for items in lists]
    submitted = [item for items in lists for item in items]
    assert [item for batch in doubling.batches for item in batch] == submitted
    assert all(len(batch) <= batch_size for batch in doubling.batches)
    assert len(doubling.threads) <= 1


def test_items_of_many_callers_are_computed_together():
    doubling = Doubling(4)

    async def use(queue):
        await asyncio.gather(*(queue.submit(doubling.work, [n]) for n in range(6)))

    run(use)
    assert doubling.batches == [[0, 1, 2, 3], [4, 5]]


def test_an_item_does_not_wait_longer_than_it_must():
    doubling = Doubling(4)

    async def use(queue):
        began = time.monotonic()
        await queue.submit(doubling.work, [1, 2, 3, 4])  # a full batch waits for nobody
        return time.monotonic() - began

    assert run(use, max_wait=30.0) < 10

    async def alone(queue):
        return await asyncio.wait_for(queue.submit(doubling.work, [1]), 10)

    assert run(alone, max_wait=0.01) == [2]


def test_never_more_wait_than_there_is_room_for():
    gate = threading.Event()
    doubling = Doubling(2, gate)

    async def use(queue):
        first = asyncio.create_task(queue.submit(doubling.work, [1, 2]))
        await asyncio.sleep(0.05)  # until they are being computed
        waiting = asyncio.create_task(queue.submit(doubling.work, [3, 4, 5]))
        await asyncio.sleep(0)
        assert len(queue) == 3
        with pytest.raises(TooManyRequestsError) as refused:
            await queue.submit(doubling.work, [6, 7])
        assert int(refused.value.headers["Retry-After"]) >= 1
        last = asyncio.create_task(queue.submit(doubling.work, [8]))
        await asyncio.sleep(0)
        assert len(queue) == 4
        gate.set()
        assert await first == [2, 4]
        assert await waiting == [6, 8, 10]
        assert await last == [16]

    run(use, capacity=4)
    assert all(6 not in batch for batch in doubling.batches)


def test_nothing_is_taken_on_that_would_wait_too_long():
    slow = Work(lambda items: time.sleep(0.05 * len(items)) or items, 2)

    async def use():
        queue = WorkQueue(1000, 0.0, patience_seconds=0.1)
        queue.start()
        for _ in range(9):  # until it has learned what an item costs
            await queue.submit(slow, [1, 2])
        waiting = asyncio.create_task(queue.submit(slow, [0, 1, 2, 3, 4, 5]))
        await asyncio.sleep(0.01)  # two of them are being computed
        with pytest.raises(TooManyRequestsError):
            await queue.submit(slow, [5])
        assert await waiting == [0, 1, 2, 3, 4, 5]
        assert await queue.submit(slow, [6]) == [6]
        await queue.close()

    asyncio.run(use())


def test_an_error_reaches_only_the_item_that_it_belongs_to():
    doubling = Doubling(4)

    async def use(queue):
        submitted = (queue.submit(doubling.work, [n]) for n in (1, 13, 2))
        return await asyncio.gather(*submitted, return_exceptions=True)

    first, second, third = run(use)
    assert (first, third) == ([2], [4])
    assert isinstance(second, ValueError)


def test_a_caller_that_is_gone_leaves_no_work_behind():
    gate = threading.Event()
    doubling = Doubling(2, gate)

    async def use(queue):
        kept = asyncio.create_task(queue.submit(doubling.work, [1, 2]))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await queue.submit(doubling.work, [3, 4])
        assert len(queue) == 0
        gate.set()
        return await kept

    assert run(use) == [2, 4]
    assert doubling.batches == [[1, 2]]


def test_works_are_not_mixed_and_keep_their_turn():
    order = []
    pairs = Work(lambda items: order.append(("pairs", *items)) or items, 2)
    singles = Work(lambda items: order.append(("single", *items)) or items, 1)

    async def use(queue):
        turns = [(pairs, 1), (singles, 2), (singles, 3), (pairs, 4), (pairs, 5)]
        return await asyncio.gather(*(queue.submit(work, [n]) for work, n in turns))

    assert run(use) == [[1], [2], [3], [4], [5]]
    assert order == [("pairs", 1), ("single", 2), ("single", 3), ("pairs", 4, 5)]


def test_closing_answers_what_was_accepted():
    doubling = Doubling(2)

    async def use():
        queue = WorkQueue(100, 0.01)
        queue.start()
        accepted = [asyncio.create_task(queue.submit(doubling.work, [n])) for n in range(9)]
        await asyncio.sleep(0)
        await queue.close()
        return [await one for one in accepted]

    assert asyncio.run(use()) == [[2 * n] for n in range(9)]
