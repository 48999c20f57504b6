"""Images that are in memory only, written as stacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import instance
from pycryo.errors import InputError
from pycryo.io.image_names import names_from
from pycryo.io.mrc_header import read_header
from pycryo.io.mrc_stacks import read_stack, write_stack
from pycryo.io.particle_set import Particles
from pycryo.io.sources.array_stack import ArrayStack

# Images of a file that are compared at a time.
_AT_ONCE = 256


def on_disc(particles: Particles, folder: Path) -> Particles:
    """The same particles, with stacks in a folder where their images are in memory.

    A file with other images stays as it is: the new one has a number in its name then.
    """
    instance("particles", particles, Particles, "from read_particles")
    stacks = list(particles.stacks)
    for number, source in enumerate(particles.headers):
        if isinstance(source, ArrayStack):
            stacks[number] = path = _place(source, folder)
            if not source.is_written(path):
                write_stack(path, [source.images], source.images.shape[1:], source.pixel_size)
                source.note(path)
    if stacks == list(particles.stacks):
        return particles
    found = replace(particles, stacks=tuple(stacks), folders=(folder.absolute(),))
    if all(new.name == old.name for new, old in zip(stacks, particles.stacks, strict=True)):
        return found
    names = particles.table.values(texts=["rlnImageName"])["rlnImageName"][particles.rows].tolist()
    for row, number in enumerate(particles.stack.tolist()):
        if isinstance(particles.headers[number], ArrayStack):
            names[row] = f"{names[row].partition('@')[0]}@{stacks[number].name}"
    return found.updated({"rlnImageName": np.array(names, object)})


def _place(source: ArrayStack, folder: Path) -> Path:
    """Where the images are or can be written without the loss of others."""
    path, number = folder / source.path.name, 1
    while not source.is_written(path) and path.exists() and not _holds(path, source):
        number += 1
        path = folder / f"{source.path.stem}_{number}{source.path.suffix}"
    return path


def _holds(path: Path, source: ArrayStack) -> bool:
    """Whether a file has just these images."""
    try:
        header = read_header(path)
        if (header.nz, header.ny, header.nx) != source.images.shape:
            return False
        starts = range(0, source.nz, _AT_ONCE)
        parts = (range(start, min(start + _AT_ONCE, source.nz)) for start in starts)
        return all(np.array_equal(read_stack(header, part), source.images[part.start : part.stop]) for part in parts)
    except InputError:
        return False


def names_from_here(particles: Particles) -> NDArray[Any] | None:
    """Image names (n,) that lead to the stacks from the working folder; None if those of the file do."""
    if all(folder == Path.cwd() for folder in particles.folders):
        return None
    names = particles.table.values(texts=["rlnImageName"])["rlnImageName"][particles.rows].tolist()
    stacks = [particles.stacks[number] for number in particles.stack.tolist()]
    return names_from(Path.cwd(), names, stacks, particles.folders)
