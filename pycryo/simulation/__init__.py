"""Particle images with known truth.

Doors: `options` say what they shall be like, `simulator` makes them, `simulate` as particles in memory.
"""
