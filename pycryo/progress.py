"""How far long loops are: told to a callable of the user's, or shown as a bar on the terminal.

Loops say it by `track` and `phase`; who listens is set by `told_to`. Nobody does by default, and in other threads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pycryo.errors import InputError

T = TypeVar("T")

# Gets the fraction done of a phase, 0 to 1, and the name of the phase.
Progress = Callable[[float, str], object]


@dataclass(slots=True)
class _Listener:
    """Who listens; the names of what goes on around a phase; whether a phase is on."""

    listener: Progress
    around: list[str] = field(default_factory=list)
    is_busy: bool = False


def check_listener(listener: object) -> None:
    """Raise InputError if the argument ``progress`` of a function is neither None nor callable."""
    if listener is not None and not callable(listener):
        raise InputError(f"progress: expected a callable or None, got {type(listener).__name__}")


_current: ContextVar[_Listener | None] = ContextVar("pycryo progress", default=None)


class _Patient:
    """A listener among several ranks: its error waits for `raise_held`, where all ranks hear of it."""

    def __init__(self, listener: Progress) -> None:
        self.listener = listener
        self.failure: Exception | None = None

    def __call__(self, fraction: float, name: str) -> None:
        if self.failure is None:
            try:
                self.listener(fraction, name)
            except Exception as error:
                self.failure = error


@contextmanager
def told_to(listener: Progress | None, *, holds_errors: bool = False) -> Iterator[None]:
    """Tell `listener` how far the phases of this thread are; None: who listens already goes on to.

    With `holds_errors` an exception of the listener is kept for `raise_held`, and it is called no more: other ranks
    would wait for this one for ever.
    """
    if listener is None:
        yield
        return
    token = _current.set(_Listener(_Patient(listener) if holds_errors else listener))
    try:
        yield
    finally:
        _current.reset(token)


def raise_held() -> None:
    """Raise the exception of the listener that `told_to` holds, if there is one."""
    current = _current.get()
    if current is not None and isinstance(current.listener, _Patient) and current.listener.failure is not None:
        raise current.listener.failure


@contextmanager
def within(name: str) -> Iterator[None]:
    """Put `name`, such as that of an iteration, before the names of the phases inside."""
    current = _current.get()
    if current is None:
        yield
        return
    current.around.append(name)
    try:
        yield
    finally:
        current.around.pop()


@contextmanager
def phase(name: str, total: float) -> Iterator[Callable[[float], None]]:
    """A phase of work of a known size; yields what is to be called with the size of each part that is done.

    The listener hears 0 at the beginning and 1 at the end. A phase inside another one is not told.
    """
    current = _current.get()
    if current is None or current.is_busy:
        yield lambda size: None
        return
    label, done = ", ".join([*current.around, name]), 0.0

    def advance(size: float) -> None:
        nonlocal done
        done += size
        if done < total:
            current.listener(done / total, label)

    current.is_busy = True
    try:
        current.listener(0.0, label)
        yield advance
        current.listener(1.0, label)
    finally:
        current.is_busy = False


def track(
    iterable: Iterable[T], total: float, name: str, size: Callable[[T], float] = lambda element: 1
) -> Iterator[T]:
    """Pass on the elements of `iterable` as a `phase`.

    Parameters
    ----------
    iterable : iterable
    total : float
        Sum of the sizes of all elements.
    name : str
    size : callable
        Of an element; default: 1.
    """
    with phase(name, total) as advance:
        for element in iterable:
            yield element
            advance(size(element))


@contextmanager
def on_terminal(is_wanted: bool = True) -> Iterator[None]:
    """Show the phases as bars, if they are wanted and stderr is a terminal."""
    if not (is_wanted and sys.stderr.isatty()):
        yield
        return
    bar = _Bar()
    try:
        with told_to(bar):
            yield
    finally:
        bar.end()


class _Bar:
    """A bar on stderr that goes away at the end of each phase."""

    def __init__(self) -> None:
        self._shown: Any = None

    def __call__(self, fraction: float, name: str) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars

        if self._shown is None:
            self._shown = Bars(console=Console(stderr=True), transient=True)
            self._shown.add_task(name, total=1.0)
            self._shown.start()
        self._shown.update(self._shown.task_ids[0], completed=fraction)
        if fraction >= 1:
            self.end()

    def end(self) -> None:
        """Take the bar away."""
        if self._shown is not None:
            self._shown.stop()
            self._shown = None
