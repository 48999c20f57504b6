"""The version of pycryo."""

__version__ = "0.1.0"
