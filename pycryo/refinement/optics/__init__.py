"""Aberrations and magnification found from particles with poses and the map that they make.

Doors: `find` does it and tells what was `found`, from half-maps as a `reference`; `change` puts it into the particles;
`during` is all of this within a refinement, `pictures` shows it.
"""
