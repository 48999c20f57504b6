"""Files: STAR, MRC, particles and their images; it computes nothing. `foreign` reads other programs' particles.

Doors: `particles` reads and writes a `particle_set` with its `optics`, whose `aberrations` can be left out, `batches`
its images, `mrc` maps, `mrc_stacks` stacks by their `mrc_header`, `star` and `table` tables, `selection` parts of them,
`json_file` objects, `atomic` any file whole or not at all; `example_data` is the demo's. `sources` are other images.
"""
