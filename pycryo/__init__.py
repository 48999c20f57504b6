"""pycryo: cryo-EM single-particle structure determination, parallel over MPI."""

import os

# Idle OpenMP threads sleep: spinning ones starve the other ranks of a node. libgomp reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
