"""The compiled kernels as functions on NumPy arrays; `reference` has the float64 twin of each.

Doors: `ctf`, `shift`, `shells`, `projector`, `compare`, `compare_local`, `defocus_scores`, `backprojector`, `keyvalue`,
`mates`, `gridding`; `pixels` and `sphere` are the samples that they work on, `entries` what is inserted.
"""
