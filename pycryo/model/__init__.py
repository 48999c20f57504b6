"""The distributed model: the Fourier sums F and T and the map that they make, on many ranks.

Doors: `insertion` brings images to the `owners` of the sums, `symmetrise` adds symmetry mates, `solve` makes the map,
`volume` the reference that the ranks of a node share; `microscope` is what happens to its slices in images,
`ewald` what thick particles do to them.
"""
