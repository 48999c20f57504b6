"""Errors that the command line turns into one clear message and an exit code."""

from __future__ import annotations


class InputError(ValueError):
    """Wrong usage or input; the message names the file or option and says what to do (exit code 2).

    Examples
    --------
    >>> try:
    ...     pycryo.RefineOptions(max_iter=0)
    ... except pycryo.InputError as error:
    ...     print(error)
    max-iter is 0, it must be at least 1
    """


class RunError(RuntimeError):
    """The run failed for a reason outside the input; the message says what to do (exit code 1)."""
