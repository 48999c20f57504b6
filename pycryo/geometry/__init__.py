"""Rotations, point groups and the grids of both; phase errors of lenses.

Doors: `rotations`, `symmetry`, `grids`; `frames` of symmetry axes, `frame_changes` of maps, `cosets` of groups;
`aberrations`.
"""
