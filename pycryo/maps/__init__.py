"""Density maps: whole ones (`density`) and those whose planes are dealt to ranks (`slab_map`).

Doors: these, `fsc`, `returned`, `masks`, `registration`, `turn`, `symmetry_axes`, `slab_transform`, `contrast`, and
`atoms`.
"""
