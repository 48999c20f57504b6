"""Sums over symmetry mates of voxels (kernel `mates`), for rotations that map the Fourier grid onto itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo import _core
from pycryo.errors import InputError
from pycryo.kernels.sphere import Sphere
from pycryo.threads import threads_or_default

Layers = tuple[int, int]


def add_mates(
    target: NDArray[np.float64],
    layers: Layers,
    source: NDArray[np.float64],
    source_layers: Layers,
    sphere: Sphere,
    rotation: NDArray[np.int32],
    *,
    imaginary: bool = False,
    threads: int | None = None,
) -> None:
    """Add what a folded half volume has at R·k to each voxel k, in place: at -R·k, conjugated, where R·k has x < 0.

    Parameters
    ----------
    target : (n_voxel,) float64
        One of the sums of `pycryo.kernels.backprojector.Accumulators` on some layers. Changed.
    layers : (int, int)
        Its first layer and the end of its layers.
    source : (n_source_voxel,) float64
        The same kind of sum on layers `source_layers`, folded, other memory than `target`; mates elsewhere are left
        out.
    sphere : Sphere
    rotation : (3, 3) int32
        R: one 1 or -1 in each row and each column, axes x, y, z.
    imaginary : bool
        Whether the sums are imaginary parts, which change their sign with a conjugate.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Raises
    ------
    InputError
        If shapes disagree or `rotation` is not of that kind.
    """
    if np.may_share_memory(target, source):
        raise InputError("target, source: expected different memory")
    _core.add_mates(
        rotation,
        imaginary,
        sphere.radius,
        sphere.start,
        *source_layers,
        source,
        *layers,
        target,
        threads_or_default(threads),
    )
