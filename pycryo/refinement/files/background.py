"""Work on files that waits for the disc, done in a thread while the next iteration computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm

Work = Callable[[], None]


class Background:
    """A thread of rank 0 that does what is left of an iteration's files, in the order in which it was added.

    What is added knows no MPI and touches only arrays that stay as they are. It begins with `start`, when nothing more
    of the iteration is to be written: threads of Python hold each other up. `settle` comes before the files of the next
    iteration, so that those of one at most are on their way, and each path has one writer.
    """

    def __init__(self) -> None:
        self._added: list[tuple[Work, Work | None]] = []
        self._running: list[Future[None]] = []

    def add(self, work: Work, give_up: Work | None = None) -> None:
        """Take `work`, and what is done instead if something added before fails. Not collective: rank 0."""
        self._added.append((work, give_up))

    def start(self) -> None:
        """Begin what was added. Not collective."""
        added, self._added = self._added, []
        if added:
            pool = ThreadPoolExecutor(1, thread_name_prefix="pycryo-write")
            self._running.append(pool.submit(_do, added))
            pool.shutdown(wait=False)

    def settle(self, comm: Comm) -> None:
        """Wait until all that was added is done. Collective.

        Raises
        ------
        InputError, RunError
            The first error of it, on every rank.
        """
        on_root(comm, self._finish)

    def close(self) -> None:
        """Wait likewise; errors are not raised. Not collective."""
        self.start()
        wait(self._running)
        self._running = []

    def _finish(self) -> None:
        self.start()
        running, self._running = self._running, []
        wait(running)
        for each in running:
            each.result()


def _do(added: Sequence[tuple[Work, Work | None]]) -> None:
    for number, (work, _) in enumerate(added):
        try:
            work()
        except BaseException:
            for _, give_up in added[number + 1 :]:
                if give_up is not None:
                    give_up()
            raise
