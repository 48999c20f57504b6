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
    "InputError": "pycryo.errors",
    "LocalOptions": "pycryo.postprocessing.local_resolution",
    "LocalResolution": "pycryo.postprocessing.local_resolution",
    "Map": "pycryo.maps.density",
    "Particles": "pycryo.io.particle_set",
    "PostprocessOptions": "pycryo.postprocessing.process",
    "PostprocessResult": "pycryo.postprocessing.process",
    "RefineOptions": "pycryo.refinement.options",
    "Result": "pycryo.refinement.result",
    "RunError": "pycryo.errors",
    "abinitio": "pycryo.refinement.start.abinitio",
    "betagal": "pycryo.io.example_data",
    "corrected_fsc": "pycryo.maps.fsc",
    "ctf": "pycryo.kernels.ctf",
    "ctf_of": "pycryo.model.microscope",
    "euler_to_matrix": "pycryo.geometry.rotations",
    "fsc": "pycryo.maps.fsc",
    "localres": "pycryo.postprocessing.local_resolution",
    "half_maps": "pycryo.refinement.result",
    "low_pass": "pycryo.maps.density",
    "mask": "pycryo.maps.masks",
    "matrix_to_euler": "pycryo.geometry.rotations",
    "postprocess": "pycryo.postprocessing.process",
    "project": "pycryo.kernels.projector",
    "read_images": "pycryo.io.batches",
    "read_map": "pycryo.io.mrc",
    "read_particles": "pycryo.io.particles",
    "reconstruct": "pycryo.refinement.reconstruct",
    "refine": "pycryo.refinement.loop",
    "resample": "pycryo.maps.density",
    "simulate": "pycryo.simulation.simulate",
    "symmetry": "pycryo.geometry.symmetry",
    "write_map": "pycryo.io.mrc",
    "write_particles": "pycryo.io.particles",
}
__all__ = list(_HOMES)
# Folders and modules whose functions are public.
_PARTS = ("filter", "kernels", "threads")


def __getattr__(name: str) -> object:
    if name in _PARTS:
        return importlib.import_module(f"pycryo.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'pycryo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
