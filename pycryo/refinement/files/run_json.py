"""run.json: how a refinement was run and what each iteration showed."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pycryo import _core
from pycryo.findings import Finding
from pycryo.io.json_file import write_object
from pycryo.model.ewald import kept_of_flat
from pycryo.refinement.outcome import Record
from pycryo.refinement.setup import Setup
from pycryo.report.gaps import gaps_of, mean_ctf_power
from pycryo.threads import get_threads
from pycryo.version import __version__


def write_run_json(
    path: Path,
    setup: Setup,
    history: list[Record],
    *,
    is_done: bool,
    sampling: float,
    inputs: Mapping[str, str],
    findings: Sequence[Finding] = (),
    returns: Sequence[Mapping[str, Any] | None] = (),
) -> None:
    """Write the file, atomically.

    Parameters
    ----------
    path : Path
    setup : Setup
    history : list of Record
        Of all iterations so far.
    is_done : bool
        The last one was the final iteration.
    sampling : float
        `pycryo.report.angdist.sampling_factor` of the poses.
    inputs : mapping of str to str
        Files that were read.
    findings : sequence of Finding
        What the checks of the input told.
    returns : sequence of (mapping or None)
        `pycryo.report.gaps.told_return` of each class.
    """
    partition = setup.partition
    content = {
        "pycryo": __version__,
        "status": "done" if is_done else "running",
        "resolution": history[-1].resolution,
        "signal_returns": list(returns),
        "ctf_gaps": ctf_gaps(setup),
        "classes": setup.options.classes,
        "symmetry": setup.group.name,
        "box": setup.box,
        "pixel_size": setup.pixel_size,
        "diameter": setup.diameter,
        "sampling_factor": sampling,
        "kept_amplitude": kept_amplitude(setup, history[-1].resolution),
        "inputs": dict(inputs),
        "findings": [dataclasses.asdict(each) for each in findings],
        "options": dataclasses.asdict(setup.options),
        "seed": setup.options.seed,
        "machine": machine(partition.comm.size),
        "versions": versions(),
        "particles": {
            "total": partition.particles.n,
            "half_sets": [partition.count(0), partition.count(1)],
            "junk": history[-1].n_junk,
            "suggested_threshold": history[-1].score_threshold,
            "left_out": [partition.particles.label(int(row)) for row in setup.statistics.bad],
            "left_out_reasons": setup.statistics.left_out.counts,
            "mended": setup.statistics.n_mended,
        },
        "iterations": [dataclasses.asdict(record) for record in history],
    }
    write_object(path, content)


def ctf_gaps(setup: Setup) -> list[float]:
    """Å where the CTFs of the particles used are nearly 0; none where no CTF is used."""
    partition = setup.partition
    if not setup.options.ctf or not partition.n:
        return []
    frequency = np.arange(setup.box // 2 + 1) / setup.field_of_view
    return gaps_of(mean_ctf_power(partition.particles, np.flatnonzero(partition.half >= 0), frequency), frequency)


def kept_amplitude(setup: Setup, resolution: float) -> float:
    """Share of the amplitudes at `resolution` Å that central slices of thick particles keep; 1 on the Ewald sphere."""
    if setup.options.ewald:
        return 1.0
    optics = setup.partition.particles.optics
    voltage = float(optics.voltage.min(initial=np.inf))
    return kept_of_flat(voltage, resolution, setup.diameter) if 0 < voltage < np.inf else 1.0


def machine(n_ranks: int) -> dict[str, str | int]:
    """On what a run of so many ranks was done."""
    return {
        "isa": _core.isa(),
        "ranks": n_ranks,
        "threads": get_threads(),
        "host": platform.node(),
        "system": platform.platform(),
    }


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on; MPI's where it is in use."""
    import sys
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "pandas", "mrcfile"):
        found[name] = version(name)
    if "mpi4py" in sys.modules:
        try:
            found["mpi4py"] = version("mpi4py")
        except PackageNotFoundError:
            found["mpi4py"] = "unknown"
    return found
