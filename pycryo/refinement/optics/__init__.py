"""Aberrations and magnification found from particles with poses and the map that they make.

Doors: `find` does it, from half-maps as a `reference`; `fit` are the fits of what was gathered as `evidence`.
"""
