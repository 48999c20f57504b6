"""The order of particles: that of their images' names, whatever that of the rows."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.io.particle_set import Particles

# What tells rows of one image apart, the first that differs.
_TIE_BREAKERS = (
    *("rot", "tilt", "psi", "origin_x", "origin_y", "class_number", "random_subset"),
    *("optics_group", "defocus_u", "defocus_v", "defocus_angle", "phase_shift", "ctf_b_factor", "ctf_scale"),
)


def by_image(particles: Particles, names: Sequence[str]) -> Particles:
    """The particles, and their stacks, in an order that depends on the images' names only.

    Stacks come by file name, those of one name by their folders; folders that all names begin with make no difference.
    Images come by their number in the stack, rows of one image by pose and then by their other values. Rows that are
    alike in all of these stay in the order of the file: they may be exchanged.

    Parameters
    ----------
    particles : Particles
        With one stack for each name, in the same order.
    names : sequence of str
        Of the stacks, as the STAR file has them.
    """
    sequence = sorted(range(len(names)), key=lambda number: _stack_key(names[number]))
    rank = np.empty(len(names), np.int32)
    rank[sequence] = np.arange(len(names), dtype=np.int32)
    stack, index = rank[particles.stack], particles.image_index
    order = np.lexsort((index, stack))
    if not _rises(stack[order], index[order]):
        ties = tuple(getattr(particles, name) for name in reversed(_TIE_BREAKERS))
        order = np.lexsort((*ties, index, stack))
    return replace(
        particles,
        stacks=tuple(particles.stacks[number] for number in sequence),
        headers=tuple(particles.headers[number] for number in sequence) if particles.headers else (),
        stack=stack,
    ).subset(order)


def _rises(stack: NDArray[np.int32], index: NDArray[np.int64]) -> bool:
    """Whether no image occurs twice among sorted ones."""
    return bool(np.all((np.diff(stack) > 0) | (np.diff(index) > 0)))


def _stack_key(name: str) -> tuple[str, list[str], str]:
    """File name, folders, and the name to the letter."""
    *folders, file = posixpath.normpath(name.replace("\\", "/")).split("/")
    return file, [folder for folder in folders if folder], name
