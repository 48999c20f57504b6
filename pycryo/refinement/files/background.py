"""Work on files that waits for the disc, done in a thread while the next iteration computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm


class Background:
    """A thread of rank 0 that does what is left of an iteration's files, in the order in which it was begun.

    What is begun knows no MPI and touches only arrays that stay as they are. `settle` comes before the files of another
    iteration: those of one at most are on their way, and each path has one writer.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._begun: list[Future[None]] = []

    def begin(self, work: Callable[[], None], give_up: Callable[[], None] | None = None) -> None:
        """Do `work` after what was begun before, or `give_up` if that failed. Not collective: rank 0."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="pycryo-write")
        before = self._begun[-1] if self._begun else None

        def follow() -> None:
            if before is not None and (error := before.exception()) is not None:
                if give_up is not None:
                    give_up()
                raise error
            work()

        self._begun.append(self._pool.submit(follow))

    def settle(self, comm: Comm) -> None:
        """Wait until all that was begun is done. Collective.

        Raises
        ------
        InputError, RunError
            The first error of it, on every rank.
        """
        on_root(comm, self._finish)

    def close(self) -> None:
        """Wait likewise; errors are not raised. Not collective."""
        wait(self._begun)
        self._begun = []
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _finish(self) -> None:
        begun, self._begun = self._begun, []
        wait(begun)
        for each in begun:
            each.result()
