"""pycryo: cryo-EM single-particle structure determination, parallel over MPI."""

import os

# Idle OpenMP threads sleep: spinning ones starve the other ranks of a node. libgomp reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"

# Eager, before anything imports the modules of the same names: pycryo.ctf, pycryo.fsc, pycryo.refine are the functions.
from pycryo.ctf import ctf
from pycryo.fsc import fsc
from pycryo.io.mrc import read_map
from pycryo.io.particles import Particles, read_particles
from pycryo.maps import Map
from pycryo.projector import project
from pycryo.refine import RefineOptions, Result, refine
from pycryo.refine.abinitio import InitialModel, abinitio
from pycryo.refine.abinitio_options import AbinitioOptions
from pycryo.refine.reconstruct import reconstruct

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
