"""Signal that comes back beyond the first fall of an FSC: particles of one defocus leave gaps at zeros of the CTF."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.shells import shell_counts
from pycryo.maps.fsc import Fsc, resolution_at
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.rows import even_bounds

# Shells (first, last), both included.
Band = tuple[int, int]

# A corrected FSC below it tells nothing.
CHANCE = 0.05
_THRESHOLD = 0.143
# Consecutive shells above the threshold, and standard deviations of their mean, that noise does not reach: three shells
# anywhere in a hundred are above 5 σ in one of 10⁵ pairs of half-maps of noise.
_LEAST_SHELLS, _LEAST_SIGMA = 3, 5.0
# Share of the shells beyond which a band must end before the last but one: the last is not inserted.
_OUTER = 2 / 3
# Factor up to which the scatter of a curve is taken for that of noise as it is known.
_MOST_EXCESS = 2.0


def reach(curve: NDArray[np.float64]) -> int:
    """Last shell before a curve first falls below 0.05."""
    below = np.flatnonzero(curve[1:] < CHANCE)
    return int(below[0]) if len(below) else len(curve) - 1


@dataclass(frozen=True, slots=True)
class Independence:
    """How many Fourier voxels of noise inside a mask are independent.

    A mask m correlates the voxels at a distance d by C(d), the transform of m². The variance of a mean over many of
    them is that of one times ΣC² / (n C(0)²).

    Attributes
    ----------
    correlated : (N // 2 + 1,) float64
        Σ C² / C(0)² over the distances that lead so many shells, 0, 1, ..., further in or out.
    order : int
        Of the point group: so many voxels are mates.
    """

    correlated: NDArray[np.float64]
    order: int

    def per_count(self, n_shell: int) -> float:
        """Variance of the mean of a corrected FSC of noise over `n_shell` shells in a row, times their voxels.

        It has the variance of two curves: the masked one, and that of random phases, which no symmetry holds together.
        """
        inside = np.maximum(0, 1 - np.arange(len(self.correlated)) / n_shell)
        return float((self.order + 1) * self.correlated @ inside)


def independence(mask: NDArray[np.float32], order: int = 1, comm: Comm | None = None) -> Independence:
    """Of the voxels of maps inside a mask. Collective.

    Parameters
    ----------
    mask : (n_plane, N, N) float32
        This rank's planes, all without `comm`.
    order : int
        Of the point group.
    comm : Comm, optional
        Ranks to which the planes are dealt (`pycryo.parallel.rows.even_bounds`).
    """
    comm = comm or SerialComm()
    box = mask.shape[1]
    bounds = even_bounds(box, comm.size)
    power, total = np.zeros((box, box // 2 + 1)), np.zeros(box)
    for number, plane in enumerate(mask, int(bounds[comm.rank])):
        square = np.square(plane, dtype=np.float64)
        total[number] = square.sum()
        # The transform along one axis, its square summed along the others: ΣC² by the shells that a step leads.
        for each in (square, square.T):
            power[number] += np.square(np.abs(np.fft.rfft(each, axis=1))).sum(0) / 2
    comm.gather_parts(power, bounds.tolist())
    comm.gather_parts(total, bounds.tolist())
    correlated = power.sum(0) * box**2 / max(total.sum() ** 2, 1e-300)
    correlated[1 : (box + 1) // 2] *= 2  # in and out
    return Independence(correlated, order)


def returned_bands(fsc: Fsc, noise: Independence) -> tuple[Band, ...]:
    """Bands of shells beyond the first fall of the corrected FSC below 0.143 where the half-maps agree beyond chance.

    A band has three or more shells in a row above 0.143, whose mean is five standard deviations above 0. That of noise
    follows from the number of independent voxels, and is larger where the rest of the curve, beyond its first fall,
    scatters more than twice as much. The band reaches as far on both sides as the curve is above 0.05. What begins in
    the outer third of the shells and does not fall again is none: maps correlate at Nyquist for other reasons.

    Parameters
    ----------
    fsc : Fsc
    noise : Independence

    Returns
    -------
    tuple of (int, int)
        First and last shells, ascending; empty where no signal comes back.
    """
    curve = fsc.corrected
    below = np.flatnonzero(curve[1:] < _THRESHOLD) + 1
    if not len(below):
        return ()
    start = int(below[0])
    count = shell_counts(fsc.box, len(curve)).astype(np.float64)
    candidates = [run for run in _runs(curve >= _THRESHOLD, start) if run[1] - run[0] + 1 >= _LEAST_SHELLS]
    bands = [_with_flanks(curve, run, start) for run in candidates]
    more = _excess(curve, count, noise, [(0, reach(curve)), *bands])
    found: list[Band] = []
    for (first, last), (low, high) in zip(candidates, bands, strict=True):
        weight = count[first : last + 1]
        variance = more * noise.per_count(last - first + 1) / weight.sum()
        sigma = float(weight @ curve[first : last + 1] / weight.sum() / np.sqrt(variance))
        if sigma < _LEAST_SIGMA or (high >= len(curve) - 2 and low > _OUTER * len(curve)):
            continue
        if found and low <= found[-1][1] + 1:
            low = found.pop()[0]
        found.append((low, high))
    return tuple(found)


def _with_flanks(curve: NDArray[np.float64], run: Band, start: int) -> Band:
    """The run of shells, and those beside it from `start` on where the curve is above chance."""
    low, high = run
    while low - 1 >= start and curve[low - 1] >= CHANCE:
        low -= 1
    while high + 1 < len(curve) and curve[high + 1] >= CHANCE:
        high += 1
    return low, high


def _excess(curve: NDArray[np.float64], count: NDArray[np.float64], noise: Independence, without: list[Band]) -> float:
    """By what factor the curve scatters more than `noise` has it, in the shells that are in no band; at least 1.

    Up to a factor of 2 it is 1: a few dozen shells tell no better.
    """
    rest = curve != 0  # what was not inserted says nothing
    for first, last in without:
        rest[first : last + 1] = False
    if not rest.any():
        return 1.0
    scatter = float(np.mean(np.square(curve[rest]) * count[rest])) / noise.per_count(1)
    return scatter if scatter > _MOST_EXCESS else 1.0


def with_returned(fsc: Fsc, noise: Independence) -> Fsc:
    """The FSC with its `returned_bands`."""
    return replace(fsc, returned=returned_bands(fsc, noise))


def kept_shells(fsc: Fsc) -> NDArray[np.bool_]:
    """(n_shell,) those before the corrected curve first falls below 0.05, and those of the bands that come back."""
    shell = np.arange(len(fsc.corrected))
    keep = shell <= reach(fsc.corrected)
    for first, last in fsc.returned:
        keep |= (shell >= first) & (shell <= last)
    return np.asarray(keep)


def returned_resolution(fsc: Fsc) -> float | None:
    """Å at which the corrected curve of the last band falls below 0.143 at last; None where no signal comes back."""
    if not fsc.returned:
        return None
    first, last = fsc.returned[-1]
    curve = fsc.corrected.copy()
    above = np.flatnonzero(curve[first : last + 1] >= _THRESHOLD) + first
    curve[: above[-1] + 1] = 1.0
    curve[above[-1]] = fsc.corrected[above[-1]]
    return resolution_at(curve, fsc.box, fsc.pixel_size, _THRESHOLD)


def _runs(flag: NDArray[np.bool_], start: int) -> list[Band]:
    """First and last index of each run of true values from `start` on."""
    edges = np.diff(np.concatenate([[0], flag[start:].astype(np.int8), [0]]))
    first, after = np.flatnonzero(edges == 1) + start, np.flatnonzero(edges == -1) + start
    return [(int(a), int(b) - 1) for a, b in zip(first, after, strict=True)]
