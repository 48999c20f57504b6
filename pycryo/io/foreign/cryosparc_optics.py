"""cryoSPARC's aberrations as RELION's columns, and back.

cryoSPARC states them as the lengths (Å) of the usual expansion of the wave aberration, in powers of λk with fractions
1/2, 1/3, 1/4 before the astigmatisms: with k = (x, y), 1/Å, of length ρ and angle θ,

    φ = -2π [s·k + λ²ρ² (t·k) + ⅓ λ²ρ³ (a cos 3θ + b sin 3θ)]                     shift_A, tilt_A, trefoil_A
    χ = ... - ½ π λ³ρ⁴ Cs - λ³ρ⁴ [2π (c cos 2θ + d sin 2θ) + ½ π (e cos 4θ + f sin 4θ)]       cs_mm, tetra_A

and its magnification as M less the identity, where M is that of docs/conventions.md (Aberrations and magnification).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.io.foreign.conversion import numbers_text
from pycryo.kernels.ctf import electron_wavelength

Array = NDArray[np.float64]

# Below this Cs (mm) the third order is not written as a beam tilt, which would be divided by it.
_LEAST_CS = 0.1
_MM = 1e7  # Å


@dataclass(frozen=True, slots=True)
class Aberrations:
    """Of each optics group; lengths in Å, as in cryoSPARC's fields of these names.

    Attributes
    ----------
    shift, tilt, trefoil : (g, 2) float64
    tetra : (g, 4) float64
    anisomag : (g, 4) float64
    """

    shift: Array
    tilt: Array
    trefoil: Array
    tetra: Array
    anisomag: Array

    @staticmethod
    def none(groups: int) -> Aberrations:
        """Without any."""
        return Aberrations(*(np.zeros((groups, k)) for k in (2, 2, 2, 4, 4)))


def relion_columns(found: Aberrations, voltage: Array, cs: Array) -> dict[str, NDArray[Any]]:
    """Columns (g,) of the optics table; none for what is zero in all groups.

    Parameters
    ----------
    found : Aberrations
    voltage, cs : (g,)
        kV, mm.
    """
    groups = len(voltage)
    wavelength = electron_wavelength(voltage)
    columns: dict[str, NDArray[Any]] = {}
    has_tilt = np.abs(cs) >= _LEAST_CS
    odd = np.zeros((groups, 6))
    # ρ² k is a third of the Zernike polynomials of third order and two thirds of those of first order.
    rest = -2 * np.pi * np.where(has_tilt[:, None], 0.0, found.tilt * wavelength[:, None] ** 2) / 3
    odd[:, (4, 3)] = rest
    odd[:, (1, 0)] = 2 * rest - 2 * np.pi * found.shift
    odd[:, (5, 2)] = -2 * np.pi / 3 * wavelength[:, None] ** 2 * found.trefoil
    even = np.zeros((groups, 9))
    strength = wavelength[:, None] ** 3
    # ρ⁴ cos 2θ is a quarter of that of fourth order and three quarters of that of second order.
    even[:, (7, 5)] = 2 * np.pi * strength * found.tetra[:, :2] / 4
    even[:, (3, 1)] = 3 * even[:, (7, 5)]
    even[:, (8, 4)] = np.pi / 2 * strength * found.tetra[:, 2:]
    tilt = np.where(has_tilt[:, None], found.tilt / np.where(has_tilt, cs * _MM, 1.0)[:, None], 0.0) * 1e3
    if tilt.any():
        columns |= {"rlnBeamTiltX": tilt[:, 0], "rlnBeamTiltY": tilt[:, 1]}
    for label, coefficients in (("rlnOddZernike", odd), ("rlnEvenZernike", even)):
        if coefficients.any():
            columns[label] = np.array([numbers_text(each) for each in coefficients], object)
    if found.anisomag.any():
        matrix = found.anisomag + np.eye(2).ravel()
        for place, label in enumerate(("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")):
            columns[label] = np.array([f"{value:.9g}" for value in matrix[:, place]], object)
    return columns


@dataclass(frozen=True, slots=True)
class Rest:
    """What of RELION's even coefficients cryoSPARC states otherwise, (g,) each, to be added.

    Attributes
    ----------
    cs : float64
        mm.
    defocus : float64
        Å.
    along, across : float64
        Å: half the astigmatism times cos 2θ₀ and sin 2θ₀.
    phase_shift : float64
        Radians.
    """

    cs: Array
    defocus: Array
    along: Array
    across: Array
    phase_shift: Array


def from_relion(
    odd: Array, even: Array, tilt: Array, magnification: Array, microscope: Array
) -> tuple[Aberrations, Rest]:
    """The inverse of `relion_columns`, for coefficients of any value up to the third and fourth order.

    Parameters
    ----------
    odd : (g, 6)
    even : (g, 9)
    tilt : (g, 2)
        mrad.
    magnification : (g, 2, 2)
    microscope : (g, 2)
        kV and mm.
    """
    voltage, cs = microscope.T
    wavelength = electron_wavelength(voltage)
    square, cube = wavelength[:, None] ** 2, wavelength**3
    third = 3 * odd[:, (4, 3)]
    found = Aberrations(
        shift=-(odd[:, (1, 0)] - 2 * odd[:, (4, 3)]) / (2 * np.pi),
        tilt=tilt * 1e-3 * (cs * _MM)[:, None] - third / (2 * np.pi * square),
        trefoil=-odd[:, (5, 2)] * 3 / (2 * np.pi * square),
        tetra=np.concatenate([even[:, (7, 5)] * 4 / (2 * np.pi), even[:, (8, 4)] * 2 / np.pi], 1) / cube[:, None],
        anisomag=magnification.reshape(-1, 4) - np.eye(2).ravel(),
    )
    # Of Z(4, 0) = 6ρ⁴ - 6ρ² + 1 and Z(2, 0) = 2ρ² - 1; χ has + π λ Δf ρ² - ½ π λ³ Cs ρ⁴ + phase shift - Σ e Z.
    per_defocus = np.pi * wavelength
    astigmatism = -(even[:, (3, 1)] - 3 * even[:, (7, 5)]) / per_defocus[:, None]
    rest = Rest(
        cs=6 * even[:, 6] / (np.pi / 2 * cube) / _MM,
        defocus=-(2 * even[:, 2] - 6 * even[:, 6]) / per_defocus,
        along=astigmatism[:, 0],
        across=astigmatism[:, 1],
        phase_shift=-(even[:, 0] - even[:, 2] + even[:, 6]),
    )
    return found, rest
