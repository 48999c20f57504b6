"""Spectra inside a window: a sphere with a cosine profile, what leaks between its shells, and spectra freed of that.

A window of a map correlates neighbouring shells of its transform: what a shell shows is a mean over about three. At the
end of the signal strong shells leak into those beyond, so that a windowed FSC stays high too far out. What leaks is
known from the window alone and is taken out here (docs/method.md, Local resolution).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Steps of the deconvolution: limits of simulated maps change by less than 1 % from 10 to 40.
_STEPS = 20
# Of a shell's power: below this the shell holds what leaked into it only.
_OWN_SHARE = 0.3
# Signal that falls more steeply than this from one shell to the next ends there, whatever the ratio of what is left;
# for shells from the third on, as the shape of a molecule falls as steeply in the first.
_STEEPEST, _FIRST_STEEP = 0.25, 3
# Power that falls by so much within so many shells was filtered away: nothing beyond is signal. From the sixth shell
# on, again for the shape of a molecule; noise keeps the power of half-maps that were not filtered from falling so.
_FILTERED, _WITHIN, _FIRST_FILTERED = 0.01, 3, 6
# Of the strongest shell: power below it is the rounding of single precision.
_ROUNDING = 1e-8
# Shells are divided into so many parts, and the radial profiles into so many steps, for the integrals.
_PARTS, _RADII = 8, 2000


@dataclass(frozen=True, slots=True)
class Window:
    """A sphere with the profile ½(1 + cos(π r / diameter)), in a box that holds it.

    Attributes
    ----------
    diameter : float
        At half height, px; the profile ends at this radius.
    """

    diameter: float

    @property
    def box(self) -> int:
        """px, even and fast to transform."""
        import scipy.fft

        box = 2 * int(np.ceil(self.diameter))
        while box != scipy.fft.next_fast_len(box, real=True) or box % 2:
            box += 1
        return box

    @property
    def n_shell(self) -> int:
        """Shells 0 to Nyquist."""
        return self.box // 2 + 1

    def values(self) -> NDArray[np.float32]:
        """(box, box, box) float32, the centre at voxel box // 2."""
        line = np.square(np.arange(self.box) - self.box // 2)
        radius = np.sqrt(line[:, None, None] + line[:, None] + line)
        return np.asarray(_profile(radius / self.diameter), np.float32)

    def leakage(self) -> Array:
        """(n_shell, n_shell) mean power of a windowed map's shell (row) by unit power in a shell (column) of the map.

        For a map whose statistics are the same all over the window. With the power |W|² of the window, shells k of the
        windowed map get ``2π k'/k · (G(k + k') - G(|k - k'|)) dk'`` from k', G the integral of q |W(q)|².
        """
        n, box = self.n_shell, self.box
        radius = (np.arange(_RADII) + 0.5) * self.diameter / _RADII
        weight = radius**2 * _profile(radius / self.diameter)
        q = np.linspace(0, 2 * n, 16 * n + 1) / box  # cycles per px
        power = np.square((np.sinc(2 * q[:, None] * radius) * weight).sum(axis=1))
        # The trapezoidal rule; q P vanishes at 0.
        grown = np.cumsum(power * q) - power * q / 2
        grown /= 4 * np.pi * (power * q**2).sum()
        part = (np.arange(n * _PARTS) + 0.5) / _PARTS
        fine = (part - 0.5)[part > 0.5]
        shell = np.rint(fine).astype(np.int64)
        k = fine / box
        inner = np.interp(np.abs(k[:, None] - k), q, grown)
        found = 2 * np.pi * k / k[:, None] * (np.interp(k[:, None] + k, q, grown) - inner) / (_PARTS * box)
        columns = np.stack([found[:, shell == j].sum(axis=1) for j in range(n)], axis=1)
        return np.stack([np.average(columns[shell == i], axis=0, weights=k[shell == i] ** 2) for i in range(n)])


def _profile(relative: Array) -> Array:
    """Of the window, at radii in units of its diameter."""
    return np.where(relative < 1, 0.5 * (1 + np.cos(np.pi * np.minimum(relative, 1))), 0)


class Leakage:
    """The leakage of a window, as a band about its diagonal.

    Every point is worked on by itself and in the same order, so that no result depends on which points come together.
    """

    def __init__(self, window: Window) -> None:
        full = window.leakage()
        self.matrix = np.where(full > 1e-12 * full.max(), full, 0)
        self._reached = self.matrix.sum(axis=0)[:, None]

    def freed(self, spectra: Array) -> Array:
        """(n_shell, n) power that leaks to `spectra` (n_shell, n), not negative (Richardson, JOSA 62, 1972, 55-59)."""
        found = spectra.copy()
        for _ in range(_STEPS):
            expected = _weighted(self.matrix, found)
            np.divide(spectra, expected, out=expected, where=expected > 0)
            found *= _weighted(self.matrix.T, expected) / self._reached
        return found


def _weighted(matrix: Array, values: Array) -> Array:
    """matrix @ values, term by term."""
    result = np.zeros_like(values)
    for i, row in enumerate(matrix):
        for j in np.flatnonzero(row):
            result[i] += row[j] * values[j]
    return result


def limits(sums: Array, counts: NDArray[np.int64], leakage: Leakage, threshold: float) -> Array:
    """Where the FSC of windowed half-maps, freed of the leakage of the window, falls below a threshold.

    Parameters
    ----------
    sums : (n, n_shell, 3) float64
        Of n windows, as `pycryo.kernels.shells.volume_shells` has them.
    counts : (n_shell,) int64
        Samples of each shell.
    leakage : Leakage
    threshold : float
        Between 0 and 1.

    Returns
    -------
    (n,) float64
        In shells, 1 to n_shell - 1, linear between them: 1 where not even the first one agrees, n_shell - 1 where all
        do.
    """
    if len(sums) == 0:
        return np.empty(0)
    cross, power_a, power_b = np.moveaxis(sums / counts[:, None], (2, 1, 0), (0, 1, 2))
    power = np.sqrt(power_a) * np.sqrt(power_b)
    seen = np.divide(cross, power, out=np.zeros_like(cross), where=power > _ROUNDING * power.max(axis=0))
    # The power of half the sum and of half the difference: neither is negative.
    agree = leakage.freed(np.maximum(power + cross, 0) / 2)
    differ = leakage.freed(np.maximum(power - cross, 0) / 2)
    signal, own = np.maximum(agree - differ, 0), agree + differ
    freed = np.divide(signal, own, out=np.zeros_like(own), where=own > _OWN_SHARE * power)
    steep = np.ones_like(freed)
    inner = signal[_FIRST_STEEP - 1 : -1]
    np.divide(signal[_FIRST_STEEP:], _STEEPEST * inner, out=steep[_FIRST_STEEP:], where=inner > 0)
    freed *= np.minimum(steep, 1)
    fallen = own[_FIRST_FILTERED:] < _FILTERED * own[_FIRST_FILTERED - _WITHIN : -_WITHIN]
    freed[_FIRST_FILTERED:][np.logical_or.accumulate(fallen, axis=0)] = 0
    return np.array([_limit(*curves, threshold) for curves in zip(seen.T, freed.T, strict=True)])


def _limit(seen: Array, freed: Array, threshold: float) -> float:
    """The limit of one window: `seen` (n_shell,) is the FSC as it is, `freed` (n_shell,) that without leakage.

    The first is below the threshold from somewhere on, two shells in a row at least: shells have few independent
    samples. From there it goes inwards to where the other one is above.
    """
    below = ~(seen >= threshold)
    twice = below.copy()
    twice[:-1] &= below[1:]
    first = int(np.argmax(twice[1:])) + 1 if twice[1:].any() else len(seen)
    while first > 1 and freed[first - 1] < threshold:
        first -= 1
    if first == 1:
        return 1.0
    if first == len(seen):
        return len(seen) - 1.0
    high, low = min(float(freed[first - 1]), 1.0), min(float(freed[first]), threshold - 1e-6)
    return first - 1 + (high - threshold) / (high - low)
