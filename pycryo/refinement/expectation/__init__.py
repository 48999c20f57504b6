"""The E-phase: every image is searched, its posterior sampled, and it is inserted.

Doors: `images` runs it; `half_pass` has its results, `rounds`, `search`, `scan`, `sharing` and `slice_grid` its sizes,
`defocus` and `defocus_control` the search of the defocus, `entries` and `fixed_poses` what is inserted.
"""
