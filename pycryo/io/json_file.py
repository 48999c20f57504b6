"""JSON files that pycryo writes, and reads again though somebody else may have changed them since."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pycryo.errors import InputError, RunError
from pycryo.io.atomic import write_text


def write_object(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write an object, atomically: numbers and arrays of NumPy as plain ones, null for numbers that are not finite.

    Raises
    ------
    InputError, RunError
        If it cannot be written.
    """
    write_text(path, json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """Only what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_object(path: str | os.PathLike[str], advice: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Parameters
    ----------
    path : path
    advice : str
        What to do if it cannot be read.

    Raises
    ------
    InputError
        If it cannot be read, is not JSON or holds something else.
    """
    path = Path(path)
    try:
        found = json.loads(path.read_text("utf-8", "surrogateescape"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; {advice}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); {advice}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object; {advice}")
    return found


def check_kinds(values: Mapping[str, Any], kinds: Mapping[str, Any], *, may_lack: bool = False) -> None:
    """Raise TypeError if a value is of another kind (class or classes), or not there unless it `may_lack`.

    For a block of `fitting`.
    """
    for name, kind in kinds.items():
        value = values.get(name) if may_lack else values[name]
        if not isinstance(value, kind) and not (may_lack and value is None):
            raise TypeError(f"{name} is {str(value)[:40]!r}")


@contextmanager
def fitting(path: str | os.PathLike[str], advice: str) -> Iterator[None]:
    """What is missing in the content of `path`, or of another kind than the block expects, is an `InputError`."""
    try:
        yield
    except (InputError, RunError, MemoryError):
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is not as pycryo writes it ({what}); {advice}") from error
