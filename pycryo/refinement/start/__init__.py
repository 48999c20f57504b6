"""What comes before the first iteration: a reference, or a search for one.

Doors: `first_setup` and `first_state` of a refinement; `abinitio` with `abinitio_options` and `abinitio_outputs`.
"""
