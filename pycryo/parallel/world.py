"""The communicator of this run: of the ranks that a launcher started, or of a single process."""

from __future__ import annotations

import warnings
from typing import Any

from pycryo.errors import InputError, RunError
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.launcher import choose_windows, launched_size, task_count, yield_cores
from pycryo.parallel.mpi import MpiComm


def world() -> Comm:
    """All processes of this run: MPI's world under mpiexec, else a `SerialComm`.

    Raises
    ------
    RunError
        If a launcher started several processes that cannot talk to each other.
    """
    launched = launched_size()
    if launched is None:
        _refuse_lonely_tasks()
        return SerialComm()
    yield_cores()
    choose_windows()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if launched <= 1:
            if not launched:
                _refuse_lonely_tasks()
            return SerialComm()
        raise RunError(
            f"mpiexec started {launched} processes, but mpi4py cannot be used ({error}); "
            "install it with: pip install 'pycryo[mpich]'"
        ) from error
    if MPI.COMM_WORLD.Get_size() == 1:
        if launched > 1:
            library = MPI.Get_library_version().splitlines()[0].strip()
            raise RunError(
                f"mpiexec started {launched} processes, but each is alone: mpi4py uses another MPI library "
                f"({library}) than this mpiexec; start with the mpiexec of the same installation "
                "(with pip's mpich: the one in the virtual environment's bin folder)"
            )
        if not launched:
            _refuse_lonely_tasks()
        return SerialComm()
    return MpiComm(MPI.COMM_WORLD)


def _refuse_lonely_tasks() -> None:
    """Raise RunError if this is one of several tasks that know nothing of each other: each would do all the work."""
    if (count := task_count()) > 1:
        raise RunError(
            f"srun started {count} tasks that cannot talk to each other: each would be a run of its own, in the same "
            f"folder; start them with `mpiexec -n {count} pycryo ...` in the batch script, or with `srun --mpi=pmi2` "
            "(pip's mpich) or `--mpi=pmix` (Open MPI)"
        )


def is_one_node(comm: Comm) -> bool:
    """Whether all ranks are on one node. Collective."""
    node = comm.node()
    is_whole = node.size == comm.size
    node.free()
    return is_whole


def as_comm(comm: Any) -> Comm:
    """Accept None (serial), an mpi4py communicator or a `Comm`.

    Raises
    ------
    InputError
        If it is neither.
    """
    if comm is None:
        if (size := launched_size() or 1) > 1:
            text = f"mpiexec started {size} processes, and each of them does all the work: give comm=MPI.COMM_WORLD"
            warnings.warn(text, stacklevel=3)
        return SerialComm()
    if not hasattr(comm, "Get_rank") and not hasattr(comm, "all_gather"):
        raise InputError(f"comm: expected a communicator of mpi4py, got {type(comm).__name__}")
    if hasattr(comm, "Get_rank"):
        return MpiComm(comm) if comm.Get_size() > 1 else SerialComm()
    wrapped: Comm = comm
    return wrapped
