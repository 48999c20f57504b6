"""Figures, tables and the HTML page of a run.

Doors: `page`, `optics_page`, their `sections`; `fsc_files`, `angdist`, `verdict`, `gaps`; `figures`, `optics_figures`,
`isosurface`.
"""
