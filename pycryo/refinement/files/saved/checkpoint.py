"""The state of a refinement on disc, so that an interrupted one goes on where it stood.

``state.h5`` holds the `State` after an iteration: numbers and records in the header, arrays as datasets. Particles
stand in the order of `pycryo.refinement.data.partition.deal`, which does not depend on the number of ranks: every rank
of any world reads one piece.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.filter.support import RowsPosterior
from pycryo.io.atomic import Later, check_writable_folder
from pycryo.io.particles import Particles
from pycryo.maps.registration import Motion
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import even_bounds
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.data.posteriors import COLUMNS, from_columns, to_columns
from pycryo.refinement.files.saved.array_file import Layout, Shape, Source, read_arrays, refuse_damage, write_arrays
from pycryo.refinement.files.saved.fingerprint import (
    header_mark,
    option_marks,
    particle_marks,
    refuse_differences,
    setup_marks,
)
from pycryo.refinement.optics.change import Change
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.outcome import Load, Record
from pycryo.refinement.parts import images_of
from pycryo.refinement.schedule import Schedule
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import Motions, State
from pycryo.version import __version__

log = logging.getLogger(__name__)

_FORMAT = 11
_HEADER = (
    *("number", "sigma_shift", "sigma_defocus", "schedule", "motions", "optics_changes", "history"),
    *("particles", "options", "setup"),
)
_SHARED = ("noise", "scale", "class_share", "insertion_weight")
_POSTERIORS = "posteriors/"


def checkpoint_file(folder: str | os.PathLike[str]) -> Path:
    """The file in a checkpoint's folder."""
    return Path(folder) / "state.h5"


def save(
    setup: Setup,
    state: State,
    history: list[Record],
    folder: str | os.PathLike[str],
    later: Later | None = None,
) -> str:
    """Write what `load` needs, atomically: the last checkpoint stays until the new one is complete. Collective.

    SIGINT and SIGTERM wait until it is.

    Parameters
    ----------
    setup : Setup
    state : State
        With references, thus not that after the final iteration.
    history : list of Record
    folder : path
        Made if needed.
    later : callable, optional
        As for `pycryo.io.atomic.atomic_path`, on rank 0. It must have ended before the next call.

    Returns
    -------
    str
        What `state_mark` will say of the file.

    Raises
    ------
    InputError, RunError
        On every rank, if the file cannot be written; the last checkpoint is intact.
    """
    partition = setup.partition
    began = time.perf_counter()
    header = {
        "format": _FORMAT,
        "pycryo": __version__,
        "number": state.number,
        "sigma_shift": state.sigma_shift,
        "sigma_defocus": state.sigma_defocus,
        "schedule": asdict(state.schedule),
        "motions": [[_motion_marks(each) for each in of_half] for of_half in state.motions],
        "optics_changes": [[g, _change_marks(change)] for g, change in state.optics_changes],
        "history": [asdict(record) for record in history],
        "particles": particle_marks(partition.particles),
        "options": option_marks(setup.options),
        "setup": setup_marks(setup),
    }
    on_root(partition.comm, lambda: check_writable_folder(folder))
    with no_interrupt(), write_arrays(partition.comm, checkpoint_file(folder), header, later) as sink:
        for name in _SHARED:
            sink.write(name, getattr(state, name))
        references = zip(_reference_names(len(state.references)), state.references, strict=True)
        sink.write_pieces(
            {name: reference.data for names, pair in references for name, reference in zip(names, pair, strict=True)}
        )
        sink.write_pieces(_posterior_arrays(setup, state))
    log.debug("checkpoint of iteration %d written in %.2f s", state.number, time.perf_counter() - began)
    return partition.comm.broadcast(header_mark(header))  # seconds in the history are those of rank 0


@contextmanager
def no_interrupt() -> Iterator[None]:
    """The first SIGINT or SIGTERM takes effect after the block; a second one kills.

    HDF5's wrapper would lose an exception that a handler raises within its clean-up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if seen:
            signal.raise_signal(seen[0])


def state_mark(comm: Comm, folder: str | os.PathLike[str]) -> str:
    """By which the saved state is recognised among all states of all runs. Collective.

    Raises
    ------
    InputError
        On every rank, if there is no checkpoint or it cannot be read.
    """
    with _read(comm, folder) as source:
        return header_mark(source.header)


def check(comm: Comm, particles: Particles, options: RefineOptions, folder: str | os.PathLike[str]) -> None:
    """Find out, before the images are read, whether there is a checkpoint of these particles and options. Collective.

    Raises
    ------
    InputError
        On every rank, if there is none, or if it is of another run; says what differs.
    """
    with _read(comm, folder) as source:
        refuse_differences(source.path, source.header["particles"], particle_marks(particles))
        refuse_differences(source.path, source.header["options"], option_marks(options))


def load(setup: Setup, folder: str | os.PathLike[str]) -> tuple[State, list[Record]]:
    """Read the state that `save` wrote, with any number of ranks. Collective.

    Parameters
    ----------
    setup : Setup
        Of the same particles and options.
    folder : path

    Returns
    -------
    State, list of Record
        As they were saved; the state with this rank's part of the references and posteriors.

    Raises
    ------
    InputError
        On every rank, if there is no checkpoint, it cannot be read, or it is of another run; says what differs.
    """
    partition, path = setup.partition, checkpoint_file(folder)
    with _read(partition.comm, folder) as source:
        header = source.header
        refuse_differences(path, header["particles"], particle_marks(partition.particles))
        refuse_differences(path, header["options"], option_marks(setup.options))
        refuse_differences(path, header["setup"], setup_marks(setup))
        with refuse_damage(path):
            schedule = Schedule(**header["schedule"])
            compared = images_of(setup, schedule.compared).partition
            _check_shapes(setup, compared.n, source.layout)
            motions = _motions(header["motions"])
            optics = tuple((int(g), _change(marks)) for g, marks in header["optics_changes"])
            history = [Record(**(record | {"load": Load(**record["load"])})) for record in header["history"]]
        noise, scale, class_share, insertion_weight = (source.read(name) for name in _SHARED)
        references = []
        for first, second in _stored_references(source.layout):
            references.append((_read_reference(setup, source, first), _read_reference(setup, source, second)))
        state = State(
            number=header["number"],
            schedule=schedule,
            references=tuple(references),
            class_share=class_share,
            noise=noise,
            scale=scale,
            sigma_shift=header["sigma_shift"],
            sigma_defocus=header["sigma_defocus"],
            posteriors=_read_posteriors(compared, source),
            insertion_weight=insertion_weight,
            motions=motions,
            optics_changes=optics,
        )
    return state, history


def _change_marks(change: Change) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in asdict(change).items()}


def _change(marks: dict[str, list[float]]) -> Change:
    return Change(**{name: np.array(values, np.float64) for name, values in marks.items()})


def _motion_marks(motion: Motion | None) -> list[list[float]] | None:
    return None if motion is None else [motion.quaternion.tolist(), motion.move.tolist()]


def _motions(marks: list[list[Any]]) -> Motions:
    first, second = (
        tuple(None if each is None else Motion(*map(np.array, each)) for each in of_half) for of_half in marks
    )
    return first, second


@contextmanager
def _read(comm: Comm, folder: str | os.PathLike[str]) -> Iterator[Source]:
    """Open the checkpoint, if there is one in a form that this version knows. Collective."""
    path = checkpoint_file(folder)
    if not on_root(comm, path.is_file):
        raise InputError(
            f"there is no checkpoint {path}: start without --continue, or give the folder of the run as --out"
        )
    with read_arrays(comm, path) as source:
        if source.header.get("format") != _FORMAT:
            raise InputError(
                f"the checkpoint {path} is of pycryo {source.header.get('pycryo')}: continue with that version, or "
                "start anew without --continue"
            )
        with refuse_damage(path):
            if missing := [name for name in _HEADER if name not in source.header]:
                raise ValueError(f"its header lacks {', '.join(missing)}")
        yield source


def _check_shapes(setup: Setup, n_compared: int, layout: Layout) -> None:
    partition, statistics = setup.partition, setup.statistics
    expected: dict[str, Shape] = {
        "noise": statistics.power.shape,
        "scale": statistics.count.shape,
        "class_share": (setup.options.classes,),
        "insertion_weight": (partition.particles.n,),
    }
    names = _stored_references(layout)
    if len(names) not in (1, setup.options.classes):
        raise ValueError(f"it has references of {len(names)} classes, expected {setup.options.classes}")
    points = layout[names[0][0]][0][:1]
    expected |= dict.fromkeys((name for pair in names for name in pair), points * 3)
    if _has_posteriors(layout):
        columns = [f"{_POSTERIORS}{name}" for name in COLUMNS]
        expected |= {name: (n_compared, *layout[name][0][1:]) for name in columns}
    for name, shape in expected.items():
        if layout[name][0] != shape:
            raise ValueError(f"{name} has shape {layout[name][0]}, expected {shape}")


def _reference_names(n_class: int) -> list[tuple[str, str]]:
    """Of the halves of each class."""
    return [(f"references/class{k}/half1", f"references/class{k}/half2") for k in range(1, n_class + 1)]


def _stored_references(layout: Layout) -> list[tuple[str, str]]:
    """The names that are there, of one class at least."""
    return _reference_names(max(1, sum(name.startswith("references/") for name in layout) // 2))


def _has_posteriors(layout: Layout) -> bool:
    """False before the first iteration."""
    return any(name.startswith(_POSTERIORS) for name in layout)


def _read_reference(setup: Setup, source: Source, name: str) -> SlabMap:
    """This rank's planes. Collective."""
    comm, points = setup.partition.comm, source.layout[name][0][0]
    bounds = even_bounds(points, comm.size)
    planes = source.read_piece(name, int(bounds[comm.rank + 1] - bounds[comm.rank]))
    return SlabMap(comm, planes, setup.field_of_view / points)


def _posterior_arrays(setup: Setup, state: State) -> dict[str, NDArray[Any]]:
    """This rank's posteriors; empty if it has none."""
    partition = images_of(setup, state.schedule.compared).partition
    return {f"{_POSTERIORS}{name}": data for name, data in to_columns(partition, state.posteriors).items()}


def _read_posteriors(partition: Partition, source: Source) -> tuple[RowsPosterior | None, RowsPosterior | None]:
    """This rank's posteriors, of the images that were compared. Collective."""
    names = COLUMNS if _has_posteriors(source.layout) else ()
    return from_columns(
        partition, {name: source.read_piece(f"{_POSTERIORS}{name}", len(partition.rows)) for name in names}
    )
