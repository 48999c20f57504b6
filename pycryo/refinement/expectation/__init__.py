"""The E-phase: every image is searched, its posterior sampled, and it is inserted.

Doors: `images` runs it; `half_pass` has its results, `rounds`, `search`, `scan`, `slice_grid` and `slice_sharing` its
sizes, `defocus` and `defocus_control` the search of the defocus, `entries` and `fixed_poses` what is inserted.
"""
