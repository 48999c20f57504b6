"""Gaps of an FSC at zeros of the particles' CTFs, and what is said of signal that comes back beyond them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.io.particles import Particles
from pycryo.kernels.ctf import ctf
from pycryo.maps.fsc import Fsc
from pycryo.maps.returned import Band, returned_resolution

# Mean CTF² below which a minimum is a gap: that of many defoci is ½.
_LOW = 0.1
# Particles and directions that the mean is taken over, and steps of the integer grid of the kernel per shell.
_MOST_PARTICLES, _DIRECTIONS, _STEPS = 1000, 12, 16


def mean_ctf_power(
    particles: Particles, rows: NDArray[np.int64], frequency: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of CTF² over particles and directions, without envelopes.

    Parameters
    ----------
    particles : Particles
    rows : (n,) int64
        Those that count; at most 1000 of them, evenly spaced, are looked at.
    frequency : (n_shell,) float64
        1/Å; evenly spaced from 0.

    Returns
    -------
    (n_shell,) float64
    """
    some = rows[:: max(1, -(-len(rows) // _MOST_PARTICLES))]
    group, optics = particles.optics_group[some], particles.optics
    angle = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    radius = _STEPS * np.arange(len(frequency))
    kx, ky = (np.rint(radius[:, None] * each).astype(np.int32).ravel() for each in (np.cos(angle), np.sin(angle)))
    total = np.zeros(len(kx))
    for start in range(0, len(some), 100):
        part = slice(start, start + 100)
        values = ctf(
            kx,
            ky,
            frequency_step=frequency[1] / _STEPS,
            defocus_u=particles.defocus_u[some[part]],
            defocus_v=particles.defocus_v[some[part]],
            defocus_angle=particles.defocus_angle[some[part]],
            phase_shift=particles.phase_shift[some[part]],
            voltage=optics.voltage[group[part]],
            spherical_aberration=optics.spherical_aberration[group[part]],
            amplitude_contrast=optics.amplitude_contrast[group[part]],
        )
        total += np.square(values, dtype=np.float64).sum(0)
    return np.asarray(total.reshape(len(frequency), _DIRECTIONS).mean(1) / max(1, len(some)))


def gaps_of(power: NDArray[np.float64], frequency: NDArray[np.float64]) -> list[float]:
    """Resolutions, Å, of the minima of a mean CTF² that are below 0.1, from coarse to fine."""
    inner = power[1:-1]
    found = np.flatnonzero((inner < _LOW) & (inner <= power[:-2]) & (inner < power[2:])) + 1
    return [float(1 / frequency[shell]) for shell in found]


def told_return(fsc: Fsc) -> dict[str, Any] | None:
    """What run.json tells of signal that comes back: bands and the resolution at last, Å; None if there is none."""
    if not fsc.returned:
        return None
    bands = [[float(fsc.resolution[first]), float(fsc.resolution[last])] for first, last in fsc.returned]
    return {"resolution": returned_resolution(fsc), "bands": bands}


def with_told_return(fsc: Fsc, told: Mapping[str, Any] | None) -> Fsc:
    """The curves with the bands of `told_return`."""
    return replace(fsc, returned=told_bands(told, fsc.box * fsc.pixel_size))


def told_bands(told: Mapping[str, Any] | None, field_of_view: float) -> tuple[Band, ...]:
    """The shells of the bands of `told_return`; `field_of_view` in Å."""
    return tuple((round(field_of_view / a), round(field_of_view / b)) for a, b in (told or {}).get("bands", ()))


def return_text(resolution: float, told: Mapping[str, Any] | None, gaps: list[float]) -> str | None:
    """A paragraph about signal that comes back, and why there is a gap.

    Parameters
    ----------
    resolution : float
        Where the FSC first falls below 0.143, Å.
    told : mapping or None
        See `told_return`.
    gaps : list of float
        See `gaps_of`.
    """
    if not told:
        return None
    first, last = told["bands"][0][0], told["resolution"]
    near = [each for each in gaps if first * 0.95 < each < resolution * 1.1]
    why = "the half-maps agree again beyond a gap"
    if near:
        why = (
            f"the CTFs of nearly all particles have a zero at {near[0]:.1f} Å, where the images tell nothing; beyond "
            "it the half-maps agree again"
        )
    return (
        f"The FSC first falls below 0.143 at {resolution:.2f} Å, and that is the resolution. But {why}, more than "
        f"noise does, and the signal comes back to {last:.2f} Å: the final map holds it, each shell weighted by its "
        "own FSC. Particles of several defoci would close the gap."
    )
