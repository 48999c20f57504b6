"""pycryo: cryo-EM single-particle structure determination, parallel over MPI."""

__version__ = "0.1.0"
