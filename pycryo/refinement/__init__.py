"""The refinement: iterations of expectation and maximization until nothing improves.

Doors: `loop` runs it with `options`, `reconstruct` makes a map of known poses.
"""
