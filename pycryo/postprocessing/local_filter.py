"""Maps sharpened and low-pass filtered at each voxel to its own local resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.kernels.shells import shell_counts
from pycryo.maps.fsc import Fsc
from pycryo.maps.slab_map import SlabMap
from pycryo.maps.slab_transform import SlabTransform
from pycryo.parallel.comm import Comm
from pycryo.postprocessing.guinier import Line, fit_b_factor, log_amplitudes
from pycryo.postprocessing.sharpen import fsc_weights

# Filters per window: neighbours differ by half of what the window resolves.
_LEVELS = 2
# Of a filter's edge, Fourier px at least.
_EDGE = 2.0


def mean_b_factor(curves: Fsc) -> Line | None:
    """The Guinier fit of the mean of two half-maps, from 10 Å to its resolution; None where there is too little to fit.

    Amplitudes are root mean squares of shells, weighted by the corrected FSC.

    Parameters
    ----------
    curves : Fsc
        Of `pycryo.maps.fsc.corrected_fsc`.
    """
    if curves.power is None:
        return None
    first, second = curves.power.T
    power = (first + second + 2 * curves.unmasked * np.sqrt(first) * np.sqrt(second)) / 4
    mean = np.sqrt(np.maximum(power, 0) / shell_counts(curves.box)) * fsc_weights(curves.corrected)
    return fit_b_factor(log_amplitudes(mean), curves.box * curves.pixel_size, finest=curves.resolution_0143)


def locally_filtered(
    half1: ArrayLike,
    half2: ArrayLike,
    resolution: SlabMap,
    window: float,
    b_factor: float = 0.0,
    *,
    comm: Comm,
    threads: int | None = None,
) -> SlabMap:
    """The mean of two half-maps, amplitudes times ``exp(-b_factor / (4 d²))``, at each voxel to its local resolution.

    Filters with a cosine edge about some resolutions are blended linearly, by 1/d. Collective; the number of ranks and
    of threads changes no bit.

    Parameters
    ----------
    half1, half2 : (n_plane, N, N) array_like
        This rank's planes.
    resolution : SlabMap
        Local resolution, Å.
    window : float
        That it was measured with, Å: filters are half of 1 / `window` apart.
    b_factor : float
        Å²; negative sharpens.
    comm : Comm
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    SlabMap
    """
    box, pixel_size = resolution.box, resolution.pixel_size
    field = box * pixel_size
    mean = (np.asarray(half1, np.float32) + np.asarray(half2, np.float32)) / np.float32(2)
    limit = np.float32(field) / resolution.data
    span = np.array([-limit.min(initial=np.inf), limit.max(initial=0)])
    comm.max_array(span)
    levels = _levels(-float(span[0]), float(span[1]), field / (_LEVELS * window))
    slabs = SlabTransform(comm, box, threads)
    rows = slabs.rows(mean)
    shell = np.arange(int(np.sqrt(3) * box / 2) + 1)
    gain = np.exp(-b_factor / 4 * np.square(shell / field))
    result = np.zeros_like(mean)
    step = np.float32(levels[1] - levels[0]) if len(levels) > 1 else np.float32(1)
    edge = max(_EDGE, field / (_LEVELS * window))
    for level in levels:
        filtered = slabs.filtered(rows, gain * _falling(shell, float(level), edge))
        # Limits are within the levels but for their rounding: the weights of a voxel add up to 1.
        share = np.clip(1 - np.abs(limit - np.float32(level)) / step, 0, 1) if len(levels) > 1 else np.float32(1)
        result += share * filtered
    return SlabMap(comm, result, pixel_size)


def _levels(low: float, high: float, step: float) -> NDArray[np.float64]:
    """Limits of the filters, Fourier px, about `step` apart."""
    n = int(np.ceil((high - low) / step)) + 1 if high > low * (1 + 1e-6) else 1
    return np.linspace(low, high, n)


def _falling(shell: NDArray[np.int64], middle: float, width: float) -> NDArray[np.float64]:
    """1, then half a cosine about `middle` down to 0."""
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip((shell - middle) / width + 0.5, 0, 1))))
