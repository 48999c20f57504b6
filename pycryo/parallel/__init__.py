"""Ranks and what moves between them; the only importer of mpi4py, and it knows no cryo-EM.

Doors: `comm` is the interface, `world` finds the communicator, `conveyor` (and its `belt_plan`), `rows`, `slabs`,
`progress_thread`, `quantiles` and `components` work on what is dealt to ranks, `collective_errors` agrees on failures,
`launcher` and `mpi_library` look at the installation."""
