"""Transforms of grids whose planes are dealt to ranks.

Doors: `slab_fft` is the transform, `slab_rounds` how much is sent at a time.
"""
