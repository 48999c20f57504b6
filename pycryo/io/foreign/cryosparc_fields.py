"""The table of .cs files of cryoSPARC: several files of one set as one, fields by name, what nobody asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.foreign.structured import read_structured


class Fields:
    """Columns of particles, by cryoSPARC's names.

    Attributes
    ----------
    path : Path
        The first of the files.
    n : int
        Particles.
    """

    def __init__(self, path: Path, n: int, columns: dict[str, NDArray[Any]]) -> None:
        self.path, self.n = path, n
        self._columns = columns
        self._used: set[str] = set()

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Fields:
        """Read files of one set of particles: the rows of the first, and the fields that the others have besides.

        Rows are matched by ``uid``, so that the others may hold more particles, in any order.

        Raises
        ------
        InputError
            If a file cannot be read, or has not all particles of the first.
        """
        first = read_structured(paths[0])
        columns = {name: first[name] for name in first.dtype.names or ()}
        for path in paths[1:]:
            other = read_structured(path)
            rows = _matching(paths[0], columns.get("uid"), path, other)
            columns |= {name: other[name][rows] for name in other.dtype.names or () if name not in columns}
        return cls(paths[0], len(first), columns)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    @property
    def names(self) -> tuple[str, ...]:
        """Of all fields."""
        return tuple(self._columns)

    def numbers(self, name: str, shape: tuple[int, ...] = ()) -> NDArray[np.float64]:
        """A field (n, \\*shape) as float64.

        Raises
        ------
        InputError
            If it is missing, is no number or has another shape.
        """
        values = self._get(name)
        if values.dtype.kind not in "biuf" or values.shape != (self.n, *shape):
            found = f"{values.dtype.name} of shape {values.shape[1:]}"
            raise InputError(f"{self.path}: {name} is {found}, not numbers of shape {shape}; check the file")
        with np.errstate(invalid="ignore"):  # a signalling NaN
            return values.astype(np.float64)

    def optional(self, name: str, shape: tuple[int, ...] = (), default: float = 0.0) -> NDArray[np.float64]:
        """`numbers`, or one value for all where the field is missing."""
        return self.numbers(name, shape) if name in self else np.full((self.n, *shape), default)

    def any_shape(self, name: str) -> NDArray[np.float64]:
        """A field of any shape (n, ...) as float64."""
        return self.numbers(name, self._get(name).shape[1:])

    def texts(self, name: str) -> NDArray[Any]:
        """A field (n,) as text, without the sign ``>`` that stands before paths within the project.

        Raises
        ------
        InputError
            If it is missing or no text.
        """
        values = self._get(name)
        if values.dtype.kind not in "SU" or values.shape != (self.n,):
            raise InputError(f"{self.path}: {name} is no text; check the file")
        if values.dtype.kind == "U":
            codes = np.ascontiguousarray(values).view(np.uint32)
            if codes.size and (codes.max() > 0x10FFFF or ((codes >= 0xD800) & (codes < 0xE000)).any()):
                raise InputError(f"{self.path}: {name} is no text; check the file")
        if not values.dtype.itemsize:
            return np.full(self.n, "", object)
        distinct, inverse = np.unique(values, return_inverse=True)
        texts = [each.decode("utf-8", "surrogateescape") if isinstance(each, bytes) else str(each) for each in distinct]
        return np.array([text.lstrip(">") for text in texts], object)[inverse]

    def use(self, names: Iterable[str]) -> None:
        """Fields that need not be told as left out."""
        self._used |= set(names)

    def left_out(self) -> list[str]:
        """Fields that nobody asked for and that are not zero for all particles."""
        rest = [name for name in self._columns if name not in self._used]
        return [name for name in rest if self._columns[name].dtype.kind in "SU" or self._columns[name].any()]

    def _get(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            raise InputError(
                f"{self.path} has no {name}; give the passthrough file of the job as well: pycryo import {self.path} "
                "PASSTHROUGH.cs --out particles.star"
            )
        self._used.add(name)
        return self._columns[name]


def _matching(first: Path, uid: NDArray[Any] | None, path: Path, other: NDArray[np.void]) -> NDArray[np.int64]:
    """Row of `other` of each particle of the first file."""
    theirs = other["uid"] if "uid" in (other.dtype.names or ()) else None
    for name, found in ((first, uid), (path, theirs)):
        if found is None or found.ndim != 1 or found.dtype.kind not in "iu":
            raise InputError(f"{name} has no uid, by which several .cs files are matched; give one file")
    assert uid is not None
    assert theirs is not None
    order = np.argsort(theirs, kind="stable")
    place = np.searchsorted(theirs, uid, sorter=order)
    place = np.minimum(place, len(theirs) - 1)
    rows = order[place] if len(theirs) else np.zeros(len(uid), np.int64)
    missing = int(np.count_nonzero(theirs[rows] != uid)) if len(theirs) else len(uid)
    if missing:
        raise InputError(
            f"{path} lacks {missing} of the {len(uid)} particles of {first} (by uid); give files of the same "
            "particles, the one with the fewest first"
        )
    return np.asarray(rows, np.int64)
