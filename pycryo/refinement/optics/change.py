"""Changes of optics groups put into the particles: columns of the optics table, defoci, origins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.io.optics import OpticsGroups, updated_table
from pycryo.io.particles import Particles
from pycryo.kernels.ctf import electron_wavelength

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be added to the optics of a group.

    Attributes
    ----------
    odd : (6,) float64
        Of `pycryo.refinement.optics.fit.odd_basis`.
    even : (9,) float64
        Of `pycryo.refinement.optics.fit.even_basis`.
    magnification : (3,) float64
        (a, b, c) of (1 + [[a, b], [b, c]]) M.
    """

    odd: Array
    even: Array
    magnification: Array

    @classmethod
    def none(cls) -> Change:
        """No change."""
        return cls(np.zeros(6), np.zeros(9), np.zeros(3))

    def plus(self, more: Change) -> Change:
        """Both, one after the other; exact but for products of two changes of the magnification."""
        return Change(self.odd + more.odd, self.even + more.even, self.magnification + more.magnification)

    @property
    def matrix(self) -> Array:
        """(2, 2) by which M is multiplied."""
        a, b, c = self.magnification
        return np.array([[1 + a, b], [b, 1 + c]])


def tilt_strength(optics: OpticsGroups, g: int) -> float:
    """Radians of the phase of a beam tilt of 1 mrad along x at k = (1, 0)/Å."""
    wavelength = float(electron_wavelength(optics.voltage[g]))
    return -2 * np.pi * 1e7 * float(optics.spherical_aberration[g]) * wavelength**2 * 1e-3


def changed(particles: Particles, changes: Mapping[int, Change]) -> Particles:
    """The particles with the optics of some groups changed.

    What aberrations have in common with a shift of the images goes into the origins, what they have in common with
    the defocus or a phase plate, into those: only third and fourth powers of k remain in the optics table.
    """
    optics = particles.optics
    tilt, matrices = optics.beam_tilt.copy(), optics.magnification.copy()
    odd, even = list(optics.odd_zernike), list(optics.even_zernike)
    u, v, angle = (np.array(getattr(particles, f"defocus_{name}")) for name in ("u", "v", "angle"))
    origin_x, origin_y = particles.origin_x.copy(), particles.origin_y.copy()
    phase = particles.phase_shift.copy()
    for g, change in changes.items():
        mine = particles.optics_group == g
        matrices[g] = change.matrix @ matrices[g]
        move = matrices[g].T @ change.odd[:2] / (2 * np.pi)
        origin_x[mine] += move[0]
        origin_y[mine] += move[1]
        tilt[g], odd[g] = _odd(optics, g, change.odd)
        even[g] = _even(even[g], change.even[3:8])
        phase[mine] -= np.rad2deg(change.even[8])
        if change.even.any():
            form = -change.even[:3] / (np.pi * float(electron_wavelength(optics.voltage[g])))
            u[mine], v[mine], angle[mine] = _defocus(u[mine], v[mine], angle[mine], form)
    found = replace(optics, beam_tilt=tilt, odd_zernike=tuple(odd), even_zernike=tuple(even), magnification=matrices)
    return replace(
        particles,
        optics=found,
        optics_table=updated_table(particles.optics_table, optics, found),
        defocus_u=u,
        defocus_v=v,
        defocus_angle=angle,
        phase_shift=phase,
        origin_x=origin_x,
        origin_y=origin_y,
    )


def with_forms(particles: Particles, forms: Array) -> Particles:
    """The particles with (mean, along x, diagonal), Å (n, 3), added to the quadratic forms of their defoci."""
    u, v, angle = (np.array(getattr(particles, f"defocus_{name}")) for name in ("u", "v", "angle"))
    mine = forms.any(axis=1)
    u[mine], v[mine], angle[mine] = _defocus(u[mine], v[mine], angle[mine], forms[mine].T)
    return replace(particles, defocus_u=u, defocus_v=v, defocus_angle=angle)


def _odd(optics: OpticsGroups, g: int, change: Array) -> tuple[Array, tuple[float, ...]]:
    """Beam tilt and rlnOddZernike of a group."""
    tilt, coefficients = optics.beam_tilt[g].copy(), _padded(optics.odd_zernike[g], 6)
    strength = tilt_strength(optics, g)
    if strength != 0:
        tilt += change[2:4] / strength
    else:  # without spherical aberration a tilt makes none: (3ρ² - 2)·x and y, and x and y
        coefficients[[4, 3]] += change[2:4] / 3
        coefficients[[1, 0]] += 2 * change[2:4] / 3
    coefficients[[2, 5]] += change[4:6]
    return tilt, tuple(coefficients.tolist()) if coefficients.any() else ()


def _even(before: tuple[float, ...], change: Array) -> tuple[float, ...]:
    """rlnEvenZernike with more of |k|⁴ · (1, cos 2θ, sin 2θ, cos 4θ, sin 4θ)."""
    coefficients = _padded(before, 9)
    whole, cos2, sin2, cos4, sin4 = change
    coefficients[[4, 5, 6, 7, 8]] += (sin4, sin2 / 4, whole / 6, cos2 / 4, cos4)
    # What the polynomials of fourth order have of lower powers.
    coefficients[[0, 1, 2, 3]] += (whole / 3, 3 * sin2 / 4, whole / 2, 3 * cos2 / 4)
    return tuple(coefficients.tolist()) if coefficients.any() else ()


def _padded(values: tuple[float, ...], count: int) -> Array:
    return np.array([*values, *[0.0] * max(0, count - len(values))])


def _defocus(u: Array, v: Array, angle: Array, form: Array) -> tuple[Array, Array, Array]:
    """Defoci with (mean, along x, diagonal) of `form` added to their quadratic forms, Å."""
    half, turn = (u - v) / 2, 2 * np.deg2rad(angle)
    mean = (u + v) / 2 + form[0]
    along, across = half * np.cos(turn) + form[1], half * np.sin(turn) + form[2]
    size = np.hypot(along, across)
    return mean + size, mean - size, np.rad2deg(np.arctan2(across, along)) / 2
