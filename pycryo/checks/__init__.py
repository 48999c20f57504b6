"""Checks of the input before any work, all findings at once; they read tables and headers, not images.

Doors: `inputs` reads particles, references and mask of a command and looks at them, by `maps` and others.
"""
