"""Norm correction: images whose noise is stronger or weaker than that of their optics group are brought to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.io.particles import Particles
from pycryo.kernels.pixels import half_plane
from pycryo.parallel.comm import Comm

Array = NDArray[np.float64]

# Noise is measured beyond this share of Nyquist, where a particle has little power of its own.
_NOISE_FROM = 0.5
# Corrections of images that are about as strong as most are cut to this range and its inverse; those of others to the
# second one: they may be on another grey scale.
_MOST, _MOST_OTHERS = 4.0, 1e3


def norm_corrections(
    comm: Comm,
    particles: Particles,
    rows: NDArray[np.int64],
    power: Array,
    total: Array,
    is_common: NDArray[np.bool_],
) -> Array:
    """(n_all,) noise amplitude of each image relative to its optics group (rlnNormCorrection); 1 where unknown.

    What the measurement scatters by itself is taken out: images that all have the same noise get 1. Group means and
    scatter are those of the common images. Collective.

    Parameters
    ----------
    comm : Comm
    particles : Particles
    rows : (n,) int64
        Usable images of this rank.
    power : (n, n_shell) float64
        Σ|X|² of each shell.
    total : (n_group, n_shell) float64
        Sums of `power` over the common images of each group, of all ranks.
    is_common : (n_all,) bool
        Images that are about as strong as most of their optics group, see `pycryo.refinement.data.outliers`.
    """
    group = particles.optics_group
    count = np.bincount(group[is_common], minlength=len(total))
    ratio = np.ones(len(rows))
    for g in np.unique(group[rows]):
        shells = _noise_shells(int(particles.optics.box[g]), total[g])
        mean = total[g, shells] / max(1, count[g])
        mine = group[rows] == g
        samples = _samples(int(particles.optics.box[g]))[shells]
        ratio[mine] = (power[np.ix_(mine, shells)] / mean * samples).sum(axis=1) / max(1, samples.sum())
    gathered = comm.gather((rows, ratio))
    norms = None
    if gathered is not None:
        squares = np.ones(particles.n)
        for some, values in gathered:
            squares[some] = values
        most = np.where(is_common, _MOST, _MOST_OTHERS)
        squares = _without_scatter(particles, squares, total, is_common)
        norms = np.sqrt(np.clip(squares, most**-2.0, most**2))
    found = comm.broadcast(norms)
    assert found is not None
    return found


def _samples(box: int) -> NDArray[np.int64]:
    """Independent samples of each shell below Nyquist."""
    return np.bincount(half_plane(box, box / 2).shell, minlength=box // 2 + 1)


def _noise_shells(box: int, total: Array) -> NDArray[np.int64]:
    """Shells beyond a share of Nyquist that hold anything."""
    outer = np.arange(int(np.ceil(_NOISE_FROM * box / 2)), (box + 1) // 2)
    return outer[total[outer] > 0]


def _without_scatter(particles: Particles, squares: Array, total: Array, is_common: NDArray[np.bool_]) -> Array:
    """Variances of each group's common images shrunk towards 1 by what chance makes of them; those of others."""
    result = np.where(is_common, 1.0, squares)
    for g in np.unique(particles.optics_group[is_common]).tolist():
        box = int(particles.optics.box[g])
        mine = is_common & (particles.optics_group == g)
        n_sample = _samples(box)[_noise_shells(box, total[g])].sum()
        observed = float(np.mean(np.square(squares[mine] - 1)))
        # |X|² of noise has a variance of its squared mean.
        true = 1 - 1 / (max(1, n_sample) * observed) if observed > 0 else 0.0
        # The observed variance is itself known to a share √(2/n) only.
        if true > 3 * np.sqrt(2 / np.count_nonzero(mine)):
            result[mine] = 1 + true * (squares[mine] - 1)
    return result
