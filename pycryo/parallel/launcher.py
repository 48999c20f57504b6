"""What the launcher (mpiexec and its like) tells its processes; needs nothing but Python."""

from __future__ import annotations

import os

from pycryo.threads import available_cores

# Variables that launchers set for their processes, with the number of processes or just a sign of life.
_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PALS_SIZE", "FLUX_JOB_SIZE")
_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
# Those of MPICH's launchers with the processes of this node; Open MPI yields by itself where they outnumber the cores.
_NODE_SIZE_VARIABLES = ("MPI_LOCALNRANKS", "PALS_LOCAL_SIZE")


def launched_size() -> int | None:
    """Number of processes the launcher says it started; 0 if it does not tell; None without a launcher."""
    for name in _SIZE_VARIABLES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0 if any(name in os.environ for name in _RANK_VARIABLES) else None


def task_count() -> int:
    """Tasks that srun started, this one among them, whether or not they can talk; 1 without it.

    A batch script is no step of srun: there it is 1, too.
    """
    count = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    return int(count) if count.isdigit() and "SLURM_PROCID" in os.environ else 1


def launched_rank() -> int:
    """Number of this process among those of the launcher; 0 without a launcher."""
    return next((int(os.environ[name]) for name in _RANK_VARIABLES if os.environ.get(name, "").isdigit()), 0)


def yield_cores() -> None:
    """Let ranks that outnumber the cores of their node sleep where MPICH waits. Before mpi4py is imported.

    By default MPICH calls sched_yield, after which Linux may well go on with the caller: ranks with something to do
    wait for the time slices of those that spin. On 2 cores an MPI_Allreduce of 3 ranks beside two busy programs took
    4.6 ms, with naps 0.6 ms; making a window 50 and 9 ms. Where every rank has a core naps only cost: 2 MB are summed
    in 1.1 ms, not in 0.2 ms.
    """
    counts = (os.environ.get(name, "") for name in _NODE_SIZE_VARIABLES)
    if next((int(count) for count in counts if count.isdigit()), 1) > _launcher_cores():
        os.environ.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")


def choose_windows() -> None:
    """Do without Open MPI's windows over UCX, which print errors where there is none. Before mpi4py is imported.

    pycryo's windows are in the memory of a node, for which Open MPI has a component of its own (sm). What a user chose
    stays.
    """
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        os.environ.setdefault("OMPI_MCA_osc", "^ucx")


def _launcher_cores() -> int:
    """Cores of all ranks of this node: each may be bound to some of them, the launcher that started it is not."""
    try:
        is_bound = len(os.sched_getaffinity(0)) < len(os.sched_getaffinity(os.getppid()))
        return len(os.sched_getaffinity(os.getppid())) if is_bound else available_cores()
    except (AttributeError, OSError):  # not on Linux, or the launcher is gone
        return available_cores()
