"""Work through a sequence with threads: in order, in constant memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from src.utils.process import available_cores

A = TypeVar("A")
B = TypeVar("B")

MOST = 8
"""Threads at most: each holds a picture and its mask in memory."""


def default_workers() -> int:
    """Return one thread per core, up to `MOST`."""
    return min(available_cores(), MOST)


def in_order(function: Callable[[A], B], items: Iterable[A], workers: int, ahead: int = 1) -> Iterator[B]:
    """Yield ``function(item)`` for each item, in order, computed by ``workers`` threads.

    An item is taken from ``items`` only when a thread can soon work on it, so an endless iterable is fine. The first
    error is raised in its turn; items that no thread has begun are then dropped. The same happens when the consumer
    stops early.

    Args:
        function: called by several threads at once.
        items: consumed by the calling thread.
        workers: number of threads.
        ahead: how many results, beyond one per thread, may wait for a slow one before them.
    """
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="picture") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= workers + ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def in_chunks(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Yield lists of ``size`` items; the last one may be shorter.

    >>> list(in_chunks(range(5), 2))
    [[0, 1], [2, 3], [4]]
    """
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


class Room:
    """Limit what threads hold at the same time; something larger than the limit is held alone.

    Args:
        limit: in any unit, such as pixels.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until there is room for this amount, and hold it in the context."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + amount <= self._limit)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()
