"""What the figures of a benchmark depend on, and whether they are worth recording."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from pycryo.errors import RunError
from pycryo.threads import available_cores, get_threads


def machine() -> dict[str, object]:
    """What the figures depend on: processor, cores, threads, instruction set, versions, load."""
    from pycryo import _core
    from pycryo.version import __version__

    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line[:10] == "model name"
        ]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": available_cores(),
        "threads": get_threads(),
        "isa": _core.isa(),
        "load_average": load_average(),
        "pycryo": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def load_average() -> float:
    """Load average of the last minute; 0 where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def check_load(force: bool) -> None:
    """Refuse to record on a busy machine.

    Raises
    ------
    RunError
        If the load average is above the number of cores and `force` is not set.
    """
    load, cores = load_average(), available_cores()
    if load > cores and not force:
        raise RunError(
            f"the load average {load:.1f} is above the {cores} cores, so the figures would not be worth recording: "
            "wait until the machine is quiet, leave out --json, or use --force"
        )
