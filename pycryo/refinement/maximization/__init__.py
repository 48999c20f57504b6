"""The M-phase: half-maps, their resolution, the references, noise and figures of the next iteration.

Doors: `maximize` runs it; `noise`, `pose_figures`, `poses`, `references`, `resolution`, `drift`, `handedness`.
"""
