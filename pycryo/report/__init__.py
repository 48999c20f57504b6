"""Figures, tables and the HTML page of a run.

Doors: `page`, `fsc_files`, `angdist`, `verdict`, `gaps`; `figures`, `optics_figures`, `isosurface`.
"""
