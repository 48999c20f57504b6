"""Images that are in memory only, written as stacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particle_set import Particles
from pycryo.io.sources.array_stack import ArrayStack


def on_disc(particles: Particles, folder: Path) -> Particles:
    """The same particles, with stacks in a folder where their images are in memory."""
    stacks = list(particles.stacks)
    for number, source in enumerate(particles.headers):
        if isinstance(source, ArrayStack):
            stacks[number] = path = folder / source.path.name
            if not source.is_written(path):
                write_stack(path, [source.images], source.images.shape[1:], source.pixel_size)
                source.note(path)
    if stacks == list(particles.stacks):
        return particles
    return replace(particles, stacks=tuple(stacks), folders=(folder.absolute(),))
