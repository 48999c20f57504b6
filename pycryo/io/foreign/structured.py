"""Structured arrays in NumPy's file format, as cryoSPARC's .cs files are: plain numbers and bytes, no objects."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.atomic import atomic_path

MAGIC = b"\x93NUMPY"
_MOST_HEADER = 1 << 20
_MOST_AXES = 8
_HEADER = re.compile(r"\{'descr': (\[.*\]|'[^']*'), 'fortran_order': (False|True), 'shape': \(([0-9, ]*)\), ?\}")
_FIELD = re.compile(r" *\('([^'\\]*)', '([^']*)'(?:, \(([0-9, ]*)\))?\),? *")
_KIND = re.compile(r"([<>|=]?)([biufSU?O])(\d{0,6})")
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}


def is_structured(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as NumPy's files do; False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_structured(path: str | os.PathLike[str]) -> NDArray[np.void]:
    """Read a one-dimensional structured array.

    The header is taken apart by its grammar, not evaluated, and the size that it claims is compared with that of the
    file before memory is taken. Objects, which NumPy pickles, are refused.

    Returns
    -------
    (n,) structured array
        Fields of the kinds b, i, u, f, S and U.

    Raises
    ------
    InputError
        If the file cannot be read or holds something else.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            dtype, n = _header(path, file)
            return np.fromfile(file, dtype, n)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error


def write_structured(path: str | os.PathLike[str], values: NDArray[np.void]) -> None:
    """Write a structured array atomically; errors as in `pycryo.io.atomic.atomic_path`."""
    values = np.ascontiguousarray(values)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
        file.write(values.view(np.uint8).data)


def _header(path: Path, file: BinaryIO) -> tuple[np.dtype[np.void], int]:
    """Fields and length; the file is then at the first value."""
    start = file.read(8)
    if start[:6] == b"\x94CSDAT":
        raise InputError(f"{path} is in cryoSPARC's compressed format; save it as a NumPy array (cryosparc-tools)")
    if start[:6] != MAGIC or len(start) < 8:
        raise InputError(f"{path} is not a .cs file of cryoSPARC, which begins as NumPy's files do; check the path")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    size = os.fstat(file.fileno()).st_size
    if start[6] not in (1, 2, 3) or not 0 < length <= min(_MOST_HEADER, size):
        raise InputError(f"{path} has a header of {length} bytes, which no .cs file has; copy the file again")
    text = file.read(length).decode("latin-1" if start[6] < 3 else "utf-8", "replace").strip()
    found = _HEADER.fullmatch(text)
    if found is None or found[2] == "True" or not found[1].startswith("["):
        raise InputError(f"{path} holds no table of particles; give a .cs file of cryoSPARC")
    shape = _numbers(found[3])
    fields = _fields(path, found[1][1:-1])
    if len(shape) != 1:
        raise InputError(f"{path} holds an array of {len(shape)} axes, not a table of particles; give another file")
    itemsize = sum(_bytes(kind) * math.prod(axes) for _, kind, axes in fields)
    left = size - file.tell()
    if not 0 < itemsize < 1 << 28 or shape[0] * itemsize > left:
        claimed = f"{shape[0]} rows of {itemsize} bytes"
        raise InputError(f"{path} is cut off: it claims {claimed}, and {left} bytes follow; copy the file again")
    return np.dtype([(name, kind, axes) if axes else (name, kind) for name, kind, axes in fields]), shape[0]


def _fields(path: Path, text: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, kind and inner axes of each field."""
    fields: list[tuple[str, str, tuple[int, ...]]] = []
    place = 0
    while place < len(text):
        found = _FIELD.match(text, place)
        kind = _KIND.fullmatch(found[2]) if found else None
        if found is None or kind is None:
            raise InputError(
                f"{path} has a field that no .cs file has ({text[place : place + 40]!r}); give another file"
            )
        if kind[2] == "O":
            raise InputError(
                f"{path} holds Python objects in {found[1]!r}, which are not loaded, as they can run programs; save it "
                "without them"
            )
        axes = _numbers(found[3] or "")
        if kind[2] in "SU":
            is_plain = bool(kind[3]) and (int(kind[3]) > 0 or not axes)
        else:
            is_plain = not kind[3] if kind[2] == "?" else int(kind[3] or 0) in _SIZES[kind[2]]
        if not is_plain or not found[1] or len(axes) > _MOST_AXES or 0 in axes:
            raise InputError(f"{path} has a field that no .cs file has ({found[0].strip()!r}); give another file")
        fields.append((found[1], found[2], axes))
        place = found.end()
    names = [name for name, _, _ in fields]
    if len(set(names)) < len(names):
        raise InputError(f"{path} has a field twice; give another file")
    return fields


def _bytes(kind: str) -> int:
    found = _KIND.fullmatch(kind)
    assert found is not None
    width = int(found[3]) if found[3] else (1 if found[2] == "?" else 0)
    return 4 * width if found[2] == "U" else width


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers between commas; a number of absurd length counts as a large one."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(int(part) if part.isdigit() and len(part) < 15 else 1 << 60 for part in parts)
