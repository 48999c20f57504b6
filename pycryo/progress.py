"""Progress bars of long loops: on a terminal only, and only where `enable` was called."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_is_enabled = False
_is_shown = False


def enable(on: bool = True) -> None:
    """Let this process show progress bars, if its stderr is a terminal; called by the command line on rank 0."""
    global _is_enabled
    _is_enabled = on and sys.stderr.isatty()


def track(iterable: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    """Pass on the elements of `iterable`, with a progress bar if bars are enabled and none is shown already.

    Parameters
    ----------
    iterable : iterable
    total : int or None
        How many elements there are; None: unknown.
    description : str
        Stands before the bar.
    """
    if not _is_enabled or _is_shown:
        yield from iterable
        return
    yield from _with_bar(iterable, total, description)


def _with_bar(iterable: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import Progress

    global _is_shown
    _is_shown = True
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(description, total=total)
            for element in iterable:
                yield element
                progress.advance(task)
    finally:
        _is_shown = False
