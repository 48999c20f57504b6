"""References of the next iteration from the half-maps: what is known of a density, and no more (method.md §6)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.fsc import Fsc
from pycryo.model.slab_map import SlabMap, join_low_resolution
from pycryo.refine.resolution import reach, solvent_mask
from pycryo.refine.state import Pair, Setup
from pycryo.slab_transform import SlabTransform

# Å; below, the half-maps share their Fourier components (RELION: --low_resol_join_halves).
JOIN_RESOLUTION = 40.0
# Density below this many standard deviations of its noise is taken as none.
_FLOOR = 1.0
# Largest gain of a shell: in shells that say little the quotient of two small numbers could be anything.
_MOST_GAIN = 3.0


def make_references(
    setup: Setup, pair: Pair, half_maps: Pair, mask: SlabMap, fsc: Fsc, r_join: float, *, is_joined: bool = False
) -> Pair:
    """References from regularised half-maps. Collective.

    Molecules are denser than the solvent around them: each voxel loses the noise's standard deviation, and what is
    negative then is set to zero, as is what lies outside the mask. The gain of each shell is the one at which the
    result fits the other half-map best, so that it holds no more contrast than both halves confirm.

    Parameters
    ----------
    setup : Setup
    pair : two SlabMap
        Regularised.
    half_maps : two SlabMap
        As they were reconstructed.
    mask : SlabMap
        Of the molecule.
    fsc : Fsc
        Of the half-maps; the references end with it.
    r_join : float
        Below this shell the halves share their components.
    is_joined : bool
        They share the gains, too: with other contrasts the halves would come to different classes.
    """
    first, second = join_low_resolution(*pair, r_join)
    # Noise outside the molecule would enter every comparison.
    inside = solvent_mask(setup, first.box).data * mask.data
    floor = _FLOOR * noise_level(first, second)
    last = reach(fsc)
    transform = SlabTransform(first.comm, first.box)
    rows = [transform.rows(np.maximum(one.data - np.float32(floor), 0), inside) for one in (first, second)]
    sums = [
        transform.sums(mine, transform.rows(other.data, inside))
        for mine, other in zip(rows, reversed(half_maps), strict=True)
    ]
    if is_joined:
        sums = [sums[0] + sums[1]] * 2
    results = [
        replace(one, data=transform.filtered(mine, shell_gains(each, last)))
        for one, mine, each in zip((first, second), rows, sums, strict=True)
    ]
    return results[0], results[1]


def noise_level(first: SlabMap, second: SlabMap) -> float:
    """Standard deviation of the noise of each of two maps that show the same. Collective."""
    squares = np.zeros(first.box)
    squares[first.numbers.start : first.numbers.stop] = np.square(first.data - second.data, dtype=np.float64).sum(
        (1, 2)
    )
    first.comm.gather_parts(squares, first.bounds.tolist())
    return float(np.sqrt(squares.sum() / (2 * first.box**3)))


def shell_gains(sums: NDArray[np.float64], last: int) -> NDArray[np.float64]:
    """(n_shell,) least-squares factors of a map to another one, 0 beyond shell `last`.

    Parameters
    ----------
    sums : (n_shell, 3) float64
        Re Σ A·B*, Σ\\|A\\|², Σ\\|B\\|² of the map A and the other one, B.
    last : int
    """
    cross, power, _ = sums.T
    gains = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    gains[last + 1 :] = 0
    return np.asarray(np.clip(gains, 0, _MOST_GAIN))
