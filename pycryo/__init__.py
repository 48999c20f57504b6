"""pycryo: cryo-EM single-particle structure determination, parallel over MPI."""

import importlib
import os
from typing import TYPE_CHECKING, Any

from pycryo.version import __version__ as __version__

# Idle OpenMP threads sleep: spinning ones starve the other ranks of a node. libgomp reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from pycryo.io.mrc import read_map
    from pycryo.io.particle_set import Particles
    from pycryo.io.particles import read_particles
    from pycryo.kernels.ctf import ctf
    from pycryo.kernels.projector import project
    from pycryo.maps.density import Map
    from pycryo.maps.fsc import fsc
    from pycryo.refinement.loop import Result, refine
    from pycryo.refinement.options import RefineOptions
    from pycryo.refinement.reconstruct import reconstruct
    from pycryo.refinement.start.abinitio import InitialModel, abinitio
    from pycryo.refinement.start.abinitio_options import AbinitioOptions

# Where each public name is; its module is imported when it is first asked for.
_HOMES = {
    "AbinitioOptions": "pycryo.refinement.start.abinitio_options",
    "InitialModel": "pycryo.refinement.start.abinitio",
    "Map": "pycryo.maps.density",
    "Particles": "pycryo.io.particle_set",
    "RefineOptions": "pycryo.refinement.options",
    "Result": "pycryo.refinement.loop",
    "abinitio": "pycryo.refinement.start.abinitio",
    "ctf": "pycryo.kernels.ctf",
    "fsc": "pycryo.maps.fsc",
    "project": "pycryo.kernels.projector",
    "read_map": "pycryo.io.mrc",
    "read_particles": "pycryo.io.particles",
    "reconstruct": "pycryo.refinement.reconstruct",
    "refine": "pycryo.refinement.loop",
}

__all__ = [
    "AbinitioOptions",
    "InitialModel",
    "Map",
    "Particles",
    "RefineOptions",
    "Result",
    "abinitio",
    "ctf",
    "fsc",
    "project",
    "read_map",
    "read_particles",
    "reconstruct",
    "refine",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pycryo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
