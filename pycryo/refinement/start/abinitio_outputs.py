"""Output files of the search for an initial map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pycryo.findings import Finding
from pycryo.io.json_file import write_object
from pycryo.io.mrc import write_map_slabs
from pycryo.io.particles import Particles, write_particles
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.refinement.files.data_star import pose_columns, write_rejected
from pycryo.refinement.files.run_json import machine, versions
from pycryo.refinement.start.abinitio import InitialModel
from pycryo.refinement.start.abinitio_options import AbinitioOptions
from pycryo.version import __version__

# The name that RELION gives it.
MAP_NAME = "initial_model.mrc"


def write_initial_model(
    comm: Comm,
    folder: Path,
    particles: Particles,
    options: AbinitioOptions,
    found: InitialModel,
    inputs: Mapping[str, str],
    findings: Sequence[Finding] = (),
) -> None:
    """Write initial_model.mrc, run_data.star, run_rejected.star (if any) and run.json. Collective.

    Parameters
    ----------
    comm : Comm
    folder : Path
        Exists.
    particles : Particles
    options : AbinitioOptions
    found : InitialModel
    inputs : mapping of str to str
        Files that were read.
    findings : sequence of Finding
        What the checks of the input told.

    Raises
    ------
    InputError, RunError
        If a file cannot be written; on all ranks.
    """
    write_map_slabs(folder / MAP_NAME, found.planes)
    on_root(comm, lambda: _write_tables(comm, folder, particles, options, found, inputs, findings))


def _write_tables(
    comm: Comm,
    folder: Path,
    particles: Particles,
    options: AbinitioOptions,
    found: InitialModel,
    inputs: Mapping[str, str],
    findings: Sequence[Finding],
) -> None:
    poses = found.poses
    assert poses is not None
    columns = pose_columns(poses, np.zeros(len(poses.rows), np.int8))
    # The halves of a round are none to be kept: all images had one reference.
    del columns["rlnRandomSubset"]
    write_particles(folder / "run_data.star", particles.subset(poses.rows), columns)
    write_rejected(folder / "run_rejected.star", particles, found.left_out)
    content = {
        "pycryo": __version__,
        "status": "done",
        "symmetry": options.symmetry,
        "resolution": found.resolution,
        "box": found.planes.box,
        "pixel_size": found.planes.pixel_size,
        "diameter": found.diameter,
        "inputs": dict(inputs),
        "findings": [dataclasses.asdict(each) for each in findings],
        "options": dataclasses.asdict(options),
        "seed": options.seed,
        "machine": machine(comm.size),
        "versions": versions(),
        "particles": {
            "total": particles.n,
            "used": len(found.used),
            "left_out": [particles.label(int(row)) for row in found.left_out.rows],
            "left_out_reasons": found.left_out.counts,
            "mended": found.n_mended,
        },
        "legs": [dataclasses.asdict(leg) for leg in found.legs],
        "seconds": round(found.seconds, 2),
    }
    write_object(folder / "run.json", content)
