"""Rotations, point groups and the grids of both.

Doors: `rotations`, `symmetry`, `grids`; `frames` of symmetry axes, `cosets` of groups.
"""
