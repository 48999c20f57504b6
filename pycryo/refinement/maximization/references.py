"""References of the next iteration from the half-maps: what is known of a density, and no more.

See docs/method.md, References.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.shells import shell_counts
from pycryo.maps.fsc import Fsc
from pycryo.maps.returned import reach
from pycryo.maps.slab_map import SlabMap, join_low_resolution
from pycryo.maps.slab_transform import SlabTransform
from pycryo.refinement.data.solvent import Solvent
from pycryo.refinement.state import Pair

log = logging.getLogger(__name__)

# Å; below the first, the half-maps share their Fourier components (RELION: --low_resol_join_halves), and up to the
# second below twice their resolution: there they agree, and noise that is halved tells poses better.
JOIN_RESOLUTION, _FINEST_JOIN = 40.0, 10.0
_JOINED_SHARE = 0.5
# Density below this many standard deviations of its noise is taken as none.
_FLOOR = 1.0
# Largest gain of a shell: in shells that say little the quotient of two small numbers could be anything.
_MOST_GAIN = 3.0
# Largest factor by which blurred shells of a reference are raised.
_MOST_CONTRAST = 3.0


def make_references(
    solvent: Solvent,
    pair: Pair,
    half_maps: Pair,
    mask: SlabMap,
    fsc: Fsc,
    box: int,
    *,
    is_joined: bool = False,
    signal: NDArray[np.float64] | None = None,
) -> Pair:
    """References from regularised half-maps. Collective.

    Molecules are denser than the solvent around them: each voxel loses the noise's standard deviation, and what is
    negative then is set to zero, as is what lies outside the mask. The gain of each shell is the one at which the
    result fits the other half-map best, so that it holds no more contrast than both halves confirm. Where poses
    that are hardly known blur the map, the gain is that with which it has the power that the images show.

    Parameters
    ----------
    solvent : Solvent
    pair : two SlabMap
        Regularised.
    half_maps : two SlabMap
        As they were reconstructed.
    mask : SlabMap
        Of the molecule.
    fsc : Fsc
        Of the half-maps; the references end with it.
    box : int
        Of the model, px.
    is_joined : bool
        The halves share all components, and the gains, too: with other contrasts they would come to different classes.
    signal : (any,) float64, optional
        See `pycryo.refinement.data.signal_power.signal_power`, where the poses of most images are hardly known.
    """
    field = solvent.field_of_view
    first, second = join_low_resolution(*pair, math.inf if is_joined else join_shell(field, fsc))
    # Noise outside the molecule would enter every comparison.
    inside = solvent.mask(first.box).data * mask.data
    floor = _FLOOR * noise_level(first, second)
    last = reach(fsc.corrected)
    transform = SlabTransform(first.comm, first.box)
    rows = [transform.rows(np.maximum(one.data - np.float32(floor), 0), inside) for one in (first, second)]
    sums = [
        transform.sums(mine, transform.rows(other.data, inside))
        for mine, other in zip(rows, reversed(half_maps), strict=True)
    ]
    if is_joined:
        sums = [sums[0] + sums[1]] * 2
    gains = [shell_gains(each, last) for each in sums]
    if signal is not None:
        # The same density has sums of fewer voxels on fewer points.
        per_voxel = (box / first.box) ** 6 / shell_counts(first.box)
        powers = [np.square(gain) * each[:, 1] * per_voxel for gain, each in zip(gains, sums, strict=True)]
        factors = [contrast(signal, fsc, power, field / JOIN_RESOLUTION) for power in powers]
        gains = [gain * factor for gain, factor in zip(gains, factors, strict=True)]
        log.debug("references: blurred shells are raised, by %.1f at the most", max(each.max() for each in factors))
    results = [
        replace(one, data=transform.filtered(mine, gain))
        for one, mine, gain in zip((first, second), rows, gains, strict=True)
    ]
    return results[0], results[1]


def join_shell(field_of_view: float, fsc: Fsc) -> float:
    """Below this shell the halves share the components of their references.

    Half the shell of their resolution, within limits: the FSC is measured on components that are the halves' own.
    """
    finest = max(_FINEST_JOIN, fsc.resolution_0143 / _JOINED_SHARE)
    return field_of_view / min(JOIN_RESOLUTION, finest)


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


def contrast(signal: NDArray[np.float64], fsc: Fsc, power: NDArray[np.float64], r_least: float) -> NDArray[np.float64]:
    """(n_shell,) factors from 1 on that give a reference the power that its FSC leaves of the signal.

    Poses that are hardly known blur a map, and with a blurred reference they remain hardly known.

    Parameters
    ----------
    signal : (any,) float64
        See `pycryo.refinement.data.signal_power.signal_power`.
    fsc : Fsc
        Of the half-maps.
    power : (n_shell,) float64
        Mean \\|V̂\\|² of the reference.
    r_least : float
        Coarser shells are not blurred, and the CTF leaves the images little of them.
    """
    n = min(len(power), len(signal), len(fsc.corrected))
    want = signal[:n] * np.clip(fsc.corrected[:n], 0, 1)
    factors = np.ones(len(power))
    np.divide(want, power[:n], out=factors[:n], where=power[:n] > 0)
    factors[: math.ceil(r_least)] = 1
    return np.asarray(np.sqrt(np.clip(factors, 1, _MOST_CONTRAST**2)))
