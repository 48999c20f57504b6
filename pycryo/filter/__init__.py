"""The particle filter: posteriors of pose and class, sampled in phases; it knows no files and no MPI.

Doors: `phases` runs it, `modes` begins it after a scan, `support` holds what it finds, `pairs` its scores, `proposals`
the widths of its kernels, `draws` and `resampling` its random parts.
"""
