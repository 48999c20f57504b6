"""What communicators keep until the run ends: it is closed before MPI ends, in the same order on all ranks.

Open MPI frees the windows that are left when it ends, each rank in an order of its own: where ranks have windows with
different others they wait for each other for ever.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from typing import Any

from pycryo.parallel.comm import Closable

# What a communicator keeps, by who made it.
Things = dict[Callable[[Any], Any], Closable]

_kept: list[tuple[Things, Callable[[Any], Any]]] = []


def close_at_exit(things: Things, make: Callable[[Any], Any]) -> None:
    """Close `things[make]`, if it is still there, when this process ends well; all things in the order of the calls.

    The order in which ranks can make things together is one in which they can close them.
    """
    if not _kept:
        atexit.register(close_all)
    _kept[:] = [(others, maker) for others, maker in _kept if maker in others]
    _kept.append((things, make))


def forget_all() -> None:
    """Close nothing: the ranks do not end well, some may not come to do it."""
    _kept.clear()


def close_all() -> None:
    """Close everything. Collective, unless an exception ends this process."""
    kept = _kept.copy()
    _kept.clear()
    if getattr(sys, "last_value", None) is None:
        for things, make in kept:
            if make in things:
                things.pop(make).close()
