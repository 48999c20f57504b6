"""Rotations, point groups and the grids of both; phase errors of lenses.

Doors: `rotations`, `symmetry`, `grids`; `frames` of symmetry axes, `cosets` of groups; `aberrations`.
"""
