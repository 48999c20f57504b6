"""What is made of half-maps after a refinement: sharpened maps, local resolution, figures, files.

Doors: `process` makes the map by `sharpen`, freed of the detector's `mtf`; `guinier` finds its B-factor, `files` writes
it, `figures` shows it. `local_resolution`, `local_filter`, `local_figures`, `local_files`; `deposition` is EMDB's,
at the level of `contour`.
"""
