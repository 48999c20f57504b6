"""Arrays that the ranks hold, in one HDF5 file that rank 0 writes and reads; a JSON header, no pickles."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError, RunError
from pycryo.io.atomic import Later, atomic_path, write_error
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm

Array = NDArray[Any]
Shape = tuple[int, ...]
# Shape and type (NumPy's code) of every array, by name.
Layout = dict[str, tuple[Shape, str]]

_HEADER = "header"
# Stands before the checksum at the end.
_MARK = b"pycryo\0\1"
_MARK_BYTES = len(_MARK) + 32
_CHUNK_BYTES = 1 << 20


@contextmanager
def write_arrays(comm: Comm, path: Path, header: Mapping[str, Any], later: Later | None = None) -> Iterator[Sink]:
    """Open a file that appears at `path`, in place of an older one, when the block ends well on all ranks. Collective.

    `later` is that of `pycryo.io.atomic.atomic_path`, on rank 0.

    Raises
    ------
    InputError, RunError
        On every rank, if it cannot be written; an older file is intact.
    """
    with ExitStack() as stack:
        files: list[Any] = []
        failures: list[Exception] = []

        def begin() -> None:
            files.append(stack.enter_context(_new_file(path, later)))
            files[0][_HEADER] = json.dumps(header)

        def end() -> None:
            if failures:
                raise failures[0]
            stack.close()

        on_root(comm, begin)
        yield Sink(comm, path, files[0] if files else None, failures)
        on_root(comm, end)


@contextmanager
def _new_file(path: Path, later: Later | None) -> Iterator[Any]:
    import h5py

    # Through a Python file, a full disc is an OSError with its number even when HDF5 meets it while it closes.
    with atomic_path(path, later) as temporary, open(temporary, "w+b") as raw:
        with h5py.File(raw, "w") as file:
            yield file
        sign(raw)


def sign(file: BinaryIO) -> None:
    """Write the checksum of what is in a file at its end; HDF5 does not mind."""
    file.seek(0, os.SEEK_END)
    file.write(_digest(file, file.tell()))


def _digest(file: BinaryIO, size: int) -> bytes:
    """Checksum of the first `size` bytes, with a mark before it; the file then stands behind them."""
    found = hashlib.sha256()
    file.seek(0)
    while size > 0 and (part := file.read(min(size, _CHUNK_BYTES))):
        found.update(part)
        size -= len(part)
    return _MARK + found.digest()


def _check(path: Path) -> None:
    """Refuse a file that is not as it was written, on which HDF5 could crash or turn in circles."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size - _MARK_BYTES
        if size < 0 or _digest(file, size) != file.read(_MARK_BYTES):
            raise ValueError("its checksum is not that of its content")


@dataclass(frozen=True, slots=True)
class Sink:
    """A file of `write_arrays`; `file` is None but on rank 0, whose first failure is raised when the block ends."""

    comm: Comm
    path: Path
    file: Any
    failures: list[Exception]

    def write(self, name: str, data: Array) -> None:
        """Store rank 0's array; the others' is not looked at. Not collective."""
        self._attempt(partial(self._make, name, data.shape, data.dtype.str))
        self._attempt(partial(self._fill, name, data, 0))

    def write_pieces(self, arrays: Mapping[str, Array]) -> None:
        """Store arrays of which each rank has some rows, in the ranks' order. Collective.

        A rank may have nothing at all, an empty mapping.
        """
        mine = {name: (len(data), data.shape[1:], data.dtype.str) for name, data in arrays.items()}
        ranks = self.comm.all_gather(mine)
        for name, (_, shape, kind) in next((each for each in ranks if each), {}).items():
            counts = [each[name][0] if each else 0 for each in ranks]
            self._attempt(partial(self._make, name, (sum(counts), *shape), kind))
            for rank, count in enumerate(counts):
                if count:
                    here = _to_root(self.comm, arrays.get(name), (count, *shape), kind, rank)
                    self._attempt(partial(self._fill, name, here, sum(counts[:rank])))

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do it on rank 0, unless something failed before: the ranks need not agree on each array."""
        if self.file is None or self.failures:
            return
        try:
            work()
        except Exception as error:
            self.failures.append(error)

    def _make(self, name: str, shape: Shape, kind: str) -> None:
        try:
            self.file.create_dataset(name, shape, kind)
        except OSError as error:
            raise write_error(self.path, error) from error

    def _fill(self, name: str, data: Array, start: int) -> None:
        if not data.size:
            return
        try:
            self.file[name].write_direct(np.ascontiguousarray(data), dest_sel=np.s_[start : start + len(data)])
        except OSError as error:
            raise write_error(self.path, error) from error


def _to_root(comm: Comm, data: Array | None, shape: Shape, kind: str, source: int) -> Array:
    """The array of rank `source` on rank 0; on the others whatever they have."""
    if source != 0 and comm.rank == 0:
        data = np.empty(shape, kind)
        comm.receive_array(data, source)
    elif source != 0 and comm.rank == source:
        assert data is not None
        comm.send_array(np.ascontiguousarray(data), 0)
    return np.empty(0) if data is None else data


@contextmanager
def read_arrays(comm: Comm, path: Path) -> Iterator[Source]:
    """Open a file that `write_arrays` made. Collective.

    Raises
    ------
    InputError
        On every rank, if it cannot be read.
    """
    with ExitStack() as stack:
        files: list[Any] = []

        def begin() -> tuple[dict[str, Any], Layout]:
            import h5py

            with refuse_damage(path):
                _check(path)
                files.append(stack.enter_context(h5py.File(path, "r", locking=False)))
                if files[0][_HEADER].shape != ():
                    raise ValueError("its header is not one text")
                return dict(json.loads(files[0][_HEADER][()])), _layout(files[0])

        header, layout = on_root(comm, begin)
        yield Source(comm, path, files[0] if files else None, header, layout)


@contextmanager
def refuse_damage(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file that does not have the form expected is an `InputError`."""
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read, it is damaged or no checkpoint ({error}): start anew") from error


def _layout(file: Any) -> Layout:
    """All arrays of numbers; none is larger than the file, so that their memory can be had."""
    import h5py

    found: Layout = {}
    size = os.path.getsize(file.filename)

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fi":
            if item.nbytes > size:
                raise ValueError(f"{name} is larger than the file")
            found[name] = (tuple(item.shape), item.dtype.str)

    file.visititems(add)
    return found


@dataclass(frozen=True, slots=True)
class Source:
    """A file of `read_arrays`; `file` is None but on rank 0. All methods are collective.

    Attributes
    ----------
    header : dict
    layout : dict of str to (shape, type)
    """

    comm: Comm
    path: Path
    file: Any
    header: dict[str, Any]
    layout: Layout

    def read(self, name: str) -> Array:
        """An array, on every rank."""
        shape, kind = self.layout[name]
        data = np.empty(shape, kind)
        on_root(self.comm, partial(self._fill, name, data, 0))
        self.comm.broadcast_array(data)
        return data

    def read_piece(self, name: str, count: int) -> Array:
        """This rank's rows of an array: the `count` that come after those of the ranks before it."""
        shape, kind = self.layout[name]
        counts = self.comm.all_gather(count)
        mine = np.empty((count, *shape[1:]), kind)
        for rank, n in enumerate(counts):
            data = mine if rank == self.comm.rank else np.empty((n if self.comm.rank == 0 else 0, *shape[1:]), kind)
            on_root(self.comm, partial(self._fill, name, data, sum(counts[:rank])))
            if rank and n and self.comm.rank == 0:
                self.comm.send_array(data, rank)
            elif rank and n and self.comm.rank == rank:
                self.comm.receive_array(data, 0)
        return mine

    def _fill(self, name: str, data: Array, start: int) -> None:
        if data.size:
            with refuse_damage(self.path):
                self.file[name].read_direct(data, np.s_[start : start + len(data)])
