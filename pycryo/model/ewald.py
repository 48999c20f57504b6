"""Images of thick particles: the Ewald sphere (docs/method.md, Ewald sphere).

What is at height z of the particle has another defocus than its centre. The image is then no slice of the map's
transform V: X(k) = ½i [e^(-iχ) V(k, hz) - e^(iχ) V(k, -hz)], z = λ|k|²/2, χ the phase of the CTF, which is sin χ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.optics import OpticsGroups
from pycryo.io.particle_set import Particles
from pycryo.kernels.ctf import electron_wavelength
from pycryo.kernels.pixels import Pixels
from pycryo.model.microscope import frequencies

Array = NDArray[np.float64]

# Particles do not fill the ball around them: amplitudes of beta-galactosidase come out right with 0.7
# (docs/benchmarks.md, Ewald sphere).
_FILLED = 0.8
_FIRST_ZERO = 4.493409457909064  # tan x = x


@dataclass(frozen=True, slots=True)
class Ewald:
    """Which surfaces images are inserted on.

    Attributes
    ----------
    hand : int
        1: what is at height z of the turned map has the defocus of the image plus z, as with electrons that travel
        along z. -1: minus z.
    diameter : float
        Of the particle, Å.
    """

    hand: int
    diameter: float

    def __post_init__(self) -> None:
        check_hand(self.hand)
        if not 0 < self.diameter < np.inf:
            raise InputError(f"the diameter of the particle is {self.diameter} Å, it must be positive")


def check_hand(hand: int) -> None:
    """Raise InputError if a hand is none."""
    if hand not in (1, -1):
        raise InputError(f"ewald-hand is {hand}, it must be 1 or -1")


def check_ctf(*, has_ewald: bool, has_ctf: bool) -> None:
    """Raise InputError if images are to be put on the Ewald sphere without a CTF."""
    if has_ewald and not has_ctf:
        raise InputError("the Ewald sphere needs a CTF: leave out --no-ctf or --ewald")


def curvature(optics: OpticsGroups, group: NDArray[np.int32]) -> Array:
    """(n,) z / |k|² of images of the groups `group` (n,), Fourier px (`pycryo.kernels.entries.Entries`)."""
    wavelength = electron_wavelength(optics.voltage[group])
    return np.asarray(wavelength / (2 * optics.box[group] * optics.pixel_size[group]))


def coherence(distance: Array | float, diameter: float) -> Array:
    """How alike the transform of a particle is at two places `distance` (1/Å) apart, 1 to 0.

    That of a ball of 0.8 `diameter` (Å), whose density is random: the ball's transform 3 (sin x - x cos x)/x³,
    x = π·0.8·diameter·distance, up to its first zero.
    """
    x = np.minimum(np.pi * _FILLED * diameter * np.abs(np.asarray(distance, np.float64)), _FIRST_ZERO)
    small = x < 0.05
    x = np.where(small, 1.0, x)
    return np.where(small, 1.0, np.maximum(3 * (np.sin(x) - x * np.cos(x)) / x**3, 0.0))


def separation(optics: OpticsGroups, g: int, pixels: Pixels, diameter: float) -> Array:
    """(n_pixel,) (1 - c)/(1 + c), c the `coherence` of V(k, z) and V(k, -z) in images of group `g`."""
    x, y = frequencies(optics, g, pixels)
    alike = coherence(electron_wavelength(optics.voltage[g]) * (x * x + y * y), diameter)
    return np.asarray((1 - alike) / (1 + alike))


def kept_of_flat(voltage: float, resolution: float, diameter: float) -> float:
    """Share of the amplitudes at `resolution` Å that is left where images are taken for central slices."""
    return float(coherence(electron_wavelength(voltage) / (2 * resolution**2), diameter))


def check_images(particles: Particles) -> None:
    """Raise InputError if the images are not as they were recorded."""
    if particles.optics.is_premultiplied[np.unique(particles.optics_group)].any():
        raise InputError(
            f"{particles.path}: images that were multiplied by their CTF (rlnCtfDataAreCtfPremultiplied) cannot be put "
            "on the Ewald sphere; extract them without, or leave out --ewald"
        )
