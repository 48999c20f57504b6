"""Images elsewhere than in the stacks that a STAR file names: in memory, or copied to a disc of each node.

Doors: `array_stack` stands for a stack, `particle_arrays` for a STAR file; `on_disc` writes what is in memory only;
`scratch` has the copies.
"""
