"""How much of a map's shells is signal, from the accumulators alone: docs/method.md, Insertion and reconstruction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Shells on both sides that are averaged. Those next to the rim lack voxels.
_NEIGHBOURS = 2
# Standard errors of the noise.
_SURE = 2.0


def measured_ssnr(sums: Array, default: float, limits: tuple[float, float]) -> Array:
    """Signal-to-noise ratio of each shell: that of the line ⟨|F|²⟩ = S T² + N T, ⟨T⟩ S / N.

    Of the ratios that the line allows for within its errors it is the one next to `default`: that is `default` itself
    where the voxels differ too much to tell. The more even T is, the less is known, and the less depends on it.

    Parameters
    ----------
    sums : (6, n_block, n_shell) float64
        Sums over the voxels of each shell in each of some parts of the volume, of 1, T, T², T³, |F|² and |F|² T.
    default : float
    limits : (2,) floats
        The least and the greatest ratio.

    Returns
    -------
    (n_shell,) float64
        Of the last shells that of the last one that can be told.
    """
    least, most = limits
    n_block, n_shell = sums.shape[1:]
    whole = sums.sum(axis=1)
    ratio = np.full(n_shell, default)
    has_both = (whole[1] > 0) & (whole[4] > 0)
    if not has_both.any() or n_block < 2:
        return ratio
    # T and |F|² in units of their means.
    n, total, power = (np.where(has_both, each, 1.0) for each in whole[[0, 1, 4]])
    mean = total / n
    units = np.stack([n, total, total * mean, total * mean**2, power, power * mean])
    parts = sums / units[:, None]
    signal, noise = _line(whole / units, has_both)
    without = np.stack([_line(whole / units - parts[:, block], has_both)[1] for block in range(n_block)])
    error = np.sqrt((n_block - 1) / n_block * np.square(without - without.mean(axis=0)).sum(axis=0))
    low, high = (noise + side * _SURE * error for side in (-1.0, 1.0))
    greatest = np.where(low > 0, signal / np.where(low > 0, low, 1.0), most)
    smallest = np.where(high > 0, signal / np.where(high > 0, high, 1.0), most)
    found = np.clip(default, smallest, greatest)
    last = np.flatnonzero(has_both)[-1] - (_NEIGHBOURS + 1)
    if last >= 0:
        ratio[: last + 1] = found[: last + 1]
        ratio[last + 1 :] = ratio[last]
    return np.clip(np.where(has_both, ratio, default), least, most)


def _line(means: Array, has_both: NDArray[np.bool_]) -> tuple[Array, Array]:
    """S and N of each shell from means (6, n_shell), averaged over neighbours."""
    _, weight, square, cube, power, power_weight = means
    signal, noise = power_weight * weight - power * square, power * cube - power_weight * square
    return tuple(_smooth(np.where(has_both, each, 0.0)) for each in (signal, noise))  # type: ignore[return-value]


def _smooth(values: Array) -> Array:
    """Running mean."""
    width = 2 * _NEIGHBOURS + 1
    return np.convolve(np.pad(values, _NEIGHBOURS, mode="edge"), np.full(width, 1 / width), "valid")
