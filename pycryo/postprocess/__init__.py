"""What is made of half-maps after a refinement: sharpened maps, figures, files.

Doors: `process` makes the map by `sharpen`, freed of the detector's `mtf`; `guinier` finds its B-factor, `files` writes
it.
"""
