"""Particles whose images are in memory, in place of files.

Doors: `array_stack` stands for a stack, `particle_arrays` for a STAR file; `on_disc` writes what is in memory only.
"""
