"""What the launcher (mpiexec and its like) tells its processes; needs nothing but Python."""

from __future__ import annotations

import os

# Variables that launchers set for their processes, with the number of processes or just a sign of life.
_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PALS_SIZE")
_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")


def launched_size() -> int | None:
    """Number of processes the launcher says it started; 0 if it does not tell; None without a launcher."""
    for name in _SIZE_VARIABLES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0 if any(name in os.environ for name in _RANK_VARIABLES) else None


def launched_rank() -> int:
    """Number of this process among those of the launcher; 0 without a launcher."""
    return next((int(os.environ[name]) for name in _RANK_VARIABLES if os.environ.get(name, "").isdigit()), 0)
