"""What communicators keep until the run ends: it is closed before MPI ends, in the same order on all ranks.

Open MPI frees the windows that are left when it ends, each rank in an order of its own: where ranks have windows with
different others they wait for each other for ever.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable

_closes: list[Callable[[], None]] = []


def close_at_exit(close: Callable[[], None]) -> None:
    """Call `close`, collective over some ranks, when this process ends well; those of all calls in their order.

    The order in which ranks can make things together is one in which they can close them.
    """
    if not _closes:
        atexit.register(close_all)
    _closes.append(close)


def is_closed(close: Callable[[], None]) -> None:
    """Forget what has been closed before."""
    if close in _closes:
        _closes.remove(close)


def forget_all() -> None:
    """Close nothing: the ranks do not end well, some may not come to do it."""
    _closes.clear()


def close_all() -> None:
    """Close everything. Collective, unless an exception ends this process."""
    closes = _closes.copy()
    _closes.clear()
    if getattr(sys, "last_value", None) is None:
        for close in closes:
            close()
