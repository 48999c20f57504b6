"""Checks of the input before any work, all findings at once; they read tables and headers, not images.

Doors: `inputs` reads particles, references and mask of a command and looks at them, by `maps` and others; `particles`
looks at units and ranges of those that were read already; `half_sets` looks for rows of the same image or particle
(`relatives`), and at the half-sets that they have.
"""
