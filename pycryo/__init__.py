"""pycryo: cryo-EM single-particle structure determination, parallel over MPI."""

import os
from typing import TYPE_CHECKING, Any

# Idle OpenMP threads sleep: spinning ones starve the other ranks of a node. libgomp reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"

# Eager, before anything imports the modules of the same names: pycryo.ctf and pycryo.fsc are the functions.
from pycryo.ctf import ctf
from pycryo.fsc import fsc
from pycryo.io.mrc import read_map
from pycryo.io.particles import Particles, read_particles
from pycryo.maps import Map
from pycryo.projector import project

if TYPE_CHECKING:
    from pycryo.refine.reconstruct import reconstruct

__all__ = ["Map", "Particles", "ctf", "fsc", "project", "read_map", "read_particles", "reconstruct"]

# Imported when first asked for: name -> module.
_LATER = {"reconstruct": "pycryo.refine.reconstruct"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'pycryo' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
