"""JSON files that pycryo wrote, or somebody else changed since."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pycryo.errors import InputError, RunError


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
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; {advice}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); {advice}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object; {advice}")
    return found


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
