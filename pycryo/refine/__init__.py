"""Determination of structures: the loop of expectation and maximization and its parts."""

from pycryo.refine.loop import Result, refine
from pycryo.refine.options import RefineOptions

__all__ = ["RefineOptions", "Result", "refine"]
