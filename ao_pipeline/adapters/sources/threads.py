"""The few threads of one collection: they wait for answers side by side, results come in the order of the questions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Final, TypeVar

THREADS: Final = 4
"""Parallel requests of one collector. Xero allows five at once; more than four gained nothing on two cores."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """Started at the first use, ended by `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pool: ThreadPoolExecutor | None = None

    def each(self, call: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return `call(item)` for each item, in order, on `THREADS` threads.

        Raises:
            AoError: The first failure; what had not started is cancelled.
        """
        work = list(items)
        if len(work) < 2:
            return [call(item) for item in work]
        futures = [self._started().submit(call, item) for item in work]
        done, pending = wait(futures, return_when=FIRST_EXCEPTION)
        for future in pending:
            future.cancel()
        for future in futures:
            if future in done and (error := future.exception()) is not None:
                raise error
        return [future.result() for future in futures]

    def in_turn(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `call(item)` for each item, in order, never more than `THREADS` of them under way or waiting to be taken.

        For results that are large and soon done with; `each` holds all of them at once.

        Raises:
            AoError: The failure of the item whose turn it is; what had not started is cancelled.
        """
        under_way: deque[Future[Result]] = deque()
        left = iter(items)
        try:
            while True:
                for item in islice(left, THREADS - len(under_way)):
                    under_way.append(self._started().submit(call, item))
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def close(self, *, is_waiting: bool = True) -> None:
        """Cancel what did not start, wait for the rest if wanted, end the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=is_waiting, cancel_futures=True)

    def _started(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=self._name)
        return self._pool
