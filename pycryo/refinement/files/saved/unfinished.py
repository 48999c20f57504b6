"""The posteriors of an iteration that is not finished, on disc: a run that was killed in it does not find them again.

``checkpoint/iteration0012`` has a file for each rank and time of writing, so that no rank waits for another; each has
the posteriors that were found since the one before, of any images. The folder belongs to the state from which the
iteration began: to another one its files say nothing.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError, RunError
from pycryo.filter.support import Posterior, RowsPosterior
from pycryo.io.atomic import check_writable_folder
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.data.posteriors import COLUMNS, as_columns, of_columns
from pycryo.refinement.files.background import Background
from pycryo.refinement.files.saved.array_file import Layout, read_arrays, refuse_damage, write_arrays
from pycryo.refinement.files.saved.checkpoint import no_interrupt, state_mark
from pycryo.refinement.parts import images_of
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import State
from pycryo.version import RELEASE

log = logging.getLogger(__name__)

# Seconds: a rank writes so often; one that is interrupted writes if it has worked for so long since.
SAVE_SECONDS, _LEAST_SECONDS = 300.0, 20.0
_FORMAT = 1
_FOLDERS = "iteration[0-9]*"
_ROWS, _SCORES = "rows", "n_score"
_ALL = (_ROWS, _SCORES, *COLUMNS)
_NAME = re.compile(r"\d+-\d+\.h5")
# Columns with an axis of support points, last axes of some, types of those that are not float64.
_OF_POINTS = frozenset(("quaternion", "shift", "weight", "class_index"))
_AXES = {"quaternion": (4,), "shift": (2,), "mode_quaternion": (4,), "mode_shift": (2,)}
_INTEGERS = {"class_index": np.int32, "mode_class": np.int32} | dict.fromkeys(
    (_ROWS, _SCORES, "n_slices", "n_phases"), np.int64
)

Columns = dict[str, NDArray[Any]]
Kept = tuple[RowsPosterior | None, RowsPosterior | None]


@dataclass(slots=True)
class Unfinished:
    """What is kept of the iterations of a run, one after the other: a `pycryo.refinement.data.keeper.Keeper`.

    As a context, it writes what it has when the block ends with an exception.

    Parameters
    ----------
    folder : Path
        That of the checkpoint.
    """

    folder: Path
    kept: Kept = field(default=(None, None), init=False)
    n_kept: int = field(default=0, init=False)
    n_score: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), init=False)
    _header: dict[str, Any] = field(default_factory=dict, init=False)
    _rank: int = field(default=0, init=False)
    _number: int = field(default=0, init=False)
    _wrote: float = field(default=0.0, init=False)
    _added: list[dict[str, NDArray[Any]]] = field(default_factory=list, init=False)

    def begin(self, setup: Setup, state: State, mark: str) -> None:
        """The iteration after `state`, recognised by `mark` (`checkpoint.state_mark`), begins with nothing."""
        self.kept, self.n_kept, self._added = (None, None), 0, []
        self._rank, self._number, self._wrote = setup.partition.comm.rank, 0, time.monotonic()
        self._header = {
            "format": _FORMAT,
            "pycryo": RELEASE,
            "state": mark,
            "number": state.number + 1,
            # Images that are inserted on the Ewald sphere are multiplied by their CTF in another way.
            "ewald": setup.options.ewald and state.schedule.stage == "final",
        }

    def resume(self, setup: Setup, state: State) -> None:
        """The iteration after `state`, that of the checkpoint, begins with what was found in it before. Collective."""
        comm = setup.partition.comm
        self.begin(setup, state, state_mark(comm, self.folder))
        self.clear(comm, keep=self.path)
        partition = images_of(setup, state.schedule.part).partition
        found, self._number = _read_all(partition, self.path, self._header, len(state.references))
        first, second = (_of_half(found, partition.half == half) for half in (0, 1))
        self.kept = first, second
        self.n_kept = sum(comm.all_gather(len(found[_ROWS])))
        self.n_score = np.zeros(len(partition.half), np.int64)
        self.n_score[found[_ROWS]] = found[_SCORES]
        if self.n_kept:
            log.info(
                "iteration %d goes on: the posteriors of %d of %d images are there",
                state.number + 1,
                self.n_kept,
                partition.n,
            )

    def clear(self, comm: Comm, keep: Path | None = None) -> None:
        """Remove the folders of all iterations, but for one. Collective."""
        on_root(comm, lambda: _remove(path for path in self.folder.glob(_FOLDERS) if path != keep))

    def end(self, background: Background) -> None:
        """Remove what was written, when the files of the iteration that `background` has are there. Collective."""
        background.add(partial(_remove, [self.path]))

    @property
    def path(self) -> Path:
        """The folder of the iteration."""
        return self.folder / f"iteration{self._header['number']:04d}"

    def add(self, rows: NDArray[np.int64], posterior: Posterior, n_score: NDArray[np.int64]) -> None:
        """Take posteriors; write all that came since the last time, if that is long ago. Not collective."""
        self._added.append({_ROWS: rows, _SCORES: n_score, **as_columns(posterior)})
        if time.monotonic() - self._wrote >= SAVE_SECONDS:
            self._write()

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and time.monotonic() - self._wrote >= _LEAST_SECONDS:
            with suppress(Exception):  # the first error is the one to tell
                self._write()

    def _write(self) -> None:
        """What was taken. A failure is told, and the iteration goes on: nothing that is needed is lost."""
        added, self._added = self._added, []
        if not added:
            return
        path = self.path / f"{self._number:05d}-{self._rank:05d}.h5"
        try:
            check_writable_folder(self.path)
            with no_interrupt(), write_arrays(SerialComm(), path, self._header) as sink:
                sink.write_pieces(_joined(added))
            self._number += 1
        except (InputError, RunError) as error:
            log.warning("posteriors of iteration %d are not kept: %s", self._header["number"], error)
        self._wrote = time.monotonic()


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in _ALL}


def _read_all(partition: Partition, path: Path, header: Mapping[str, Any], n_class: int) -> tuple[Columns, int]:
    """What there is of this rank's particles, and a number that no file has yet. Collective."""
    files = on_root(partition.comm, lambda: sorted(each for each in path.glob("*.h5") if _NAME.fullmatch(each.name)))
    missing, mine = partition.half >= 0, np.zeros(len(partition.half), bool)
    mine[partition.rows] = True
    n_point, found = 0, list[Columns]()
    for file in files:
        try:
            columns = _read(partition.comm, file, header, missing, (n_point, n_class))
        except InputError as error:
            log.info("%s is not used, its images are searched again: %s", file, error.__cause__ or error)
            continue
        rows, n_point = columns[_ROWS], columns["weight"].shape[1]
        chosen = mine[rows] & missing[rows]
        missing[rows] = False
        found.append({name: data[chosen] for name, data in columns.items()})
    number = 1 + max((int(file.name.split("-")[0]) for file in files), default=-1)
    return _joined(found) if found else dict.fromkeys(_ALL, np.empty(0, np.int64)), number


def _of_half(columns: Columns, is_of_half: NDArray[np.bool_]) -> RowsPosterior | None:
    """The posteriors of some particles, in the order of these."""
    order = np.argsort(columns[_ROWS])
    order = order[is_of_half[columns[_ROWS][order]]]
    if not len(order):
        return None
    return columns[_ROWS][order], of_columns({name: columns[name][order] for name in COLUMNS})


def _read(
    comm: Comm, path: Path, header: Mapping[str, Any], usable: NDArray[np.bool_], sizes: tuple[int, int]
) -> Columns:
    """The arrays of one file, on every rank; `sizes` are the numbers of support points (0: any) and classes.

    Raises
    ------
    InputError
        On every rank, if it is damaged, or of another iteration than `header` says.
    """
    with read_arrays(comm, path) as source:
        with refuse_damage(path):
            if different := [name for name, value in header.items() if source.header.get(name) != value]:
                raise ValueError(f"it is of another iteration or run, these differ: {', '.join(different)}")
            _check_layout(source.layout, *sizes)
        columns = {name: source.read(name) for name in _ALL}
    with refuse_damage(path):
        rows, classes = columns[_ROWS], columns["class_index"]
        if rows.min() < 0 or rows.max() >= len(usable) or len(np.unique(rows)) < len(rows):
            raise ValueError("it is of other particles")
        if classes.min() < 0 or classes.max() >= sizes[1]:
            raise ValueError("it is of other classes")
        if not all(np.isfinite(columns[name]).all() for name in _AXES):
            raise ValueError("it has poses that are no numbers")
    return columns


def _check_layout(layout: Layout, n_point: int, n_class: int) -> None:
    n, m = layout["weight"][0]
    if not n or n_point not in (0, m):
        raise ValueError(f"it has {n} images with {m} support points")
    axes = _AXES | {"class_probability": (n_class,)}
    expected: Layout = {}
    for name in _ALL:
        points = (m,) if name in _OF_POINTS else ()
        expected[name] = ((n, *points, *axes.get(name, ())), np.dtype(_INTEGERS.get(name, np.float64)).str)
    for name, each in expected.items():
        if layout[name] != each:
            raise ValueError(f"{name} is {layout[name]}, expected {each}")


def _remove(folders: Iterable[Path]) -> None:
    for each in folders:
        shutil.rmtree(each, ignore_errors=True)
