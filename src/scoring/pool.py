"""Worker threads with a bounded queue: maps are scored while the network computes or the disk reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from src.utils.errors import UserError
from src.utils.process import available_cores

Result = TypeVar("Result")


class WorkerPool:
    """Runs functions in `workers` threads (None: one per core; 0: in the caller's thread), with a bounded queue.

    Threads are enough, since decoding files and the loops over pixels release the interpreter's lock; and nothing has
    to be copied or forked.

    Raises:
        UserError: `workers` below 0.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 0:
            raise UserError(f"workers={workers}: must be 0 (no threads of their own) or more")
        self.workers = available_cores() if workers is None else workers
        self._executor = ThreadPoolExecutor(self.workers) if self.workers else None
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Start a call; wait while there are four unfinished calls per worker, so that maps do not fill the memory."""
        if self._executor is None:
            done: Future[Result] = Future()
            done.set_result(function(*arguments))
            return done
        while len(self._waiting) >= 4 * self.workers:
            self._waiting.popleft().exception()
        future = self._executor.submit(function, *arguments)
        self._waiting.append(future)
        return future

    def map(self, function: Callable[..., Result], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """Yield results in the order of the jobs, as soon as they are available."""
        futures: deque[Future[Result]] = deque()
        for job in jobs:
            futures.append(self.submit(function, *job))
            while futures and futures[0].done():
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
