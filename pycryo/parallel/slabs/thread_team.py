"""Threads that share many short pieces of work, such as the rows of a transform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol


class Team(Protocol):
    """Threads at work."""

    def map(self, work: Callable[[Any], None], items: Iterable[Any], /) -> Iterator[None]:
        """Call `work` with each item, in any order."""


@contextmanager
def team_of(threads: int) -> Iterator[Team]:
    """So many threads; the calling one alone if 1."""
    if threads == 1:
        yield _Caller()
    else:
        with ThreadPoolExecutor(threads) as pool:
            yield _Threads(pool, threads)


class _Caller:
    """The calling thread alone."""

    def map(self, work: Callable[[Any], None], items: Iterable[Any], /) -> Iterator[None]:
        """See `Team`."""
        return map(work, items)


class _Threads:
    """Threads that each take the next item when they are ready: a task per item would cost more than a short row."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool, self._threads = pool, threads

    def map(self, work: Callable[[Any], None], items: Iterable[Any], /) -> Iterator[None]:
        """See `Team`."""
        left = iter(items)

        def on_thread(_: int) -> None:
            for item in left:
                work(item)

        return self._pool.map(on_thread, range(self._threads))
