"""Batches of items of many requests for one compute thread, from a bounded queue."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Generic, TypeVar

from mvcn.serve.limits import TooManyRequestsError

Item = TypeVar("Item")
Result = TypeVar("Result")

SMOOTHING = 0.2
"""Weight of the newest batch, if it is full, in the estimated seconds per item."""


@dataclass(frozen=True, eq=False)
class Work(Generic[Item, Result]):
    """A function that processes several items at once."""

    run: Callable[[Sequence[Item]], Sequence[Result]]
    """Returns one result per item, in order; called in the compute thread."""
    batch_size: int
    """Largest number of items per call."""


@dataclass(eq=False)
class _Waiting:
    work: Work[Any, Any]
    item: Any
    since: float
    answer: asyncio.Future[Any] = field(default_factory=asyncio.Future)


class WorkQueue:
    """A first-in-first-out queue for one compute thread.

    A batch starts when it is full, or when its first item has waited long enough. An error is
    raised only for the item that causes it: the items of its batch are computed again, one by one.

    Args:
        capacity: Largest number of waiting items, without those being computed.
        max_wait_seconds: How long an item waits for a batch to fill.
        patience_seconds: Nothing is accepted while the queue is expected to take longer.
        on_batch: Called with the size of each batch.
    """

    def __init__(
        self,
        capacity: int,
        max_wait_seconds: float,
        patience_seconds: float = math.inf,
        on_batch: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._capacity = capacity
        self._max_wait = max_wait_seconds
        self._patience = patience_seconds
        self._on_batch = on_batch
        self._entries: deque[_Waiting] = deque()
        self._computed: Sequence[_Waiting] = ()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._item_seconds: dict[Work[Any, Any], float] = {}
        self._loop_task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return the number of waiting items."""
        return len(self._entries)

    def start(self) -> None:
        """Start the worker task; needs a running event loop."""
        self._loop_task = asyncio.create_task(self._compute_forever())

    async def close(self) -> None:
        """Compute all waiting items, then end the thread."""
        while unanswered := [
            entry.answer for entry in (*self._computed, *self._entries) if not entry.answer.done()
        ]:
            await asyncio.wait(unanswered)
        if self._loop_task is not None:
            self._loop_task.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def submit(self, work: Work[Item, Result], items: Sequence[Item]) -> list[Result]:
        """Return the result of each item, in order; items of a cancelled caller are not computed.

        Raises:
            TooManyRequestsError: There is no room for all of them; none is queued.
            Exception: Raised by `work` for one of them.
        """
        expected = sum(self._item_seconds.get(entry.work, 0.0) for entry in self._entries)
        if len(self._entries) + len(items) > self._capacity or expected > self._patience:
            seconds = max(1, math.ceil(expected))
            raise TooManyRequestsError(
                f"The queue is full: try again in {seconds} seconds.", seconds
            )
        now = asyncio.get_running_loop().time()
        entries = [_Waiting(work, item, now) for item in items]
        self._entries.extend(entries)
        self._arrived.set()
        try:
            return list(await asyncio.gather(*(entry.answer for entry in entries)))
        finally:
            for entry in entries:
                entry.answer.cancel()
            if any(entry.answer.cancelled() for entry in entries):
                self._entries = deque(e for e in self._entries if not e.answer.done())

    async def _compute_forever(self) -> None:
        while True:
            while not self._entries:
                self._arrived.clear()
                await self._arrived.wait()
            await self._gather_batch()
            self._computed = [self._entries.popleft() for _ in self._next_batch()]
            if self._computed:
                self._on_batch(len(self._computed))
                await self._compute(self._computed)

    async def _gather_batch(self) -> None:
        """Wait until a batch is complete, or its first item has waited long enough."""
        deadline = self._entries[0].since + self._max_wait
        while self._entries and not self._is_batch_complete():
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _is_batch_complete(self) -> bool:
        batch = self._next_batch()
        return len(batch) == batch[0].work.batch_size or len(batch) < len(self._entries)

    def _next_batch(self) -> list[_Waiting]:
        """Return the first entries of the same work that fit into one batch."""
        if not self._entries:
            return []
        work = self._entries[0].work
        same = takewhile(lambda entry: entry.work is work, self._entries)
        return [entry for entry, _ in zip(same, range(work.batch_size), strict=False)]

    async def _compute(self, batch: Sequence[_Waiting]) -> None:
        loop, work = asyncio.get_running_loop(), batch[0].work
        began = loop.time()
        try:
            items = [entry.item for entry in batch]
            results = await loop.run_in_executor(self._thread, work.run, items)
        except Exception as error:
            await self._compute_each(batch, error)
            return
        self._update_estimate(work, len(batch), loop.time() - began)
        for entry, result in zip(batch, results, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(result)

    def _update_estimate(self, work: Work[Any, Any], items: int, seconds: float) -> None:
        """Update the estimated seconds per item; a small batch, slower per item, counts less."""
        known = self._item_seconds.get(work, 0.0)
        weight = SMOOTHING * items / work.batch_size
        self._item_seconds[work] = known + weight * (seconds / items - known)

    async def _compute_each(self, batch: Sequence[_Waiting], error: Exception) -> None:
        """Compute the items of a batch one by one, to find those that raise an error."""
        if len(batch) > 1:
            for entry in batch:
                await self._compute([entry])
        elif not batch[0].answer.done():
            batch[0].answer.set_exception(error)
