"""pycryo: cryo-EM single-particle structure determination, parallel over MPI."""

import importlib
import os

from pycryo.version import __version__ as __version__

# Idle OpenMP threads sleep: spinning ones starve the other ranks of a node. libgomp reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Where each public name is; its module is imported when it is first asked for. __init__.pyi has their types.
_HOMES = {
    "AbinitioOptions": "pycryo.refinement.start.abinitio_options",
    "InitialModel": "pycryo.refinement.start.abinitio",
    "LocalOptions": "pycryo.postprocess.local_resolution",
    "LocalResolution": "pycryo.postprocess.local_resolution",
    "Map": "pycryo.maps.density",
    "Particles": "pycryo.io.particle_set",
    "RefineOptions": "pycryo.refinement.options",
    "Result": "pycryo.refinement.loop",
    "abinitio": "pycryo.refinement.start.abinitio",
    "ctf": "pycryo.kernels.ctf",
    "fsc": "pycryo.maps.fsc",
    "local_resolution": "pycryo.postprocess.local_resolution",
    "project": "pycryo.kernels.projector",
    "read_map": "pycryo.io.mrc",
    "read_particles": "pycryo.io.particles",
    "reconstruct": "pycryo.refinement.reconstruct",
    "refine": "pycryo.refinement.loop",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pycryo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
