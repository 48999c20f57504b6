"""Contrast transfer functions (kernel `ctf`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import _core
from pycryo.arguments import numbers, result
from pycryo.errors import InputError
from pycryo.threads import threads_or_default


def electron_wavelength(voltage: ArrayLike) -> NDArray[np.float64]:
    """Relativistic wavelength in Å of electrons of `voltage` kV."""
    volts = 1e3 * np.asarray(voltage, np.float64)
    return np.asarray(12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts)))


def ctf(
    kx: ArrayLike,
    ky: ArrayLike,
    *,
    frequency_step: ArrayLike,
    defocus_u: ArrayLike,
    defocus_v: ArrayLike,
    defocus_angle: ArrayLike,
    voltage: ArrayLike,
    spherical_aberration: ArrayLike,
    amplitude_contrast: ArrayLike,
    phase_shift: ArrayLike = 0.0,
    b_factor: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
    offset: ArrayLike | None = None,
    which: ArrayLike | None = None,
    out: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Contrast transfer functions, positive at s = 0.

    ``scale · exp(-B s²/4) · sin(π λ Δf(θ) s² - ½π Cs λ³ s⁴ + φ + asin(w) + offset)`` at the spatial frequency s, with
    Δf(θ) = ½(U + V) + ½(U - V) cos 2(θ - angle), where θ is the angle of (kx, ky) from the x axis
    (docs/conventions.md, Contrast transfer function). The parameters of the images are broadcast to each other.

    Parameters
    ----------
    kx, ky : (n_pixel,) int32
        Fourier indices, |kx|, |ky| < 32768; fastest where neighbours in a row follow each other.
    frequency_step : float, or (n,) array_like
        s per Fourier index, 1/Å: 1 / (box · pixel size).
    defocus_u, defocus_v : float, or (n,) array_like
        U and V, Å, underfocus positive.
    defocus_angle : float, or (n,) array_like
        Angle of U from the x axis, degrees.
    voltage : float, or (n,) array_like
        kV.
    spherical_aberration : float, or (n,) array_like
        Cs, mm.
    amplitude_contrast : float, or (n,) array_like
        w, -1 to 1.
    phase_shift : float, or (n,) array_like
        φ of a phase plate, degrees.
    b_factor : float, or (n,) array_like
        B, Å².
    scale : float, or (n,) array_like
        Factor.
    offset : (m, n_pixel) float64, optional
        Further phases, radians, such as those of the symmetric aberrations of m optics groups
        (`pycryo.geometry.aberrations`).
    which : (n,) int32, optional
        Row of `offset` for each image; -1: none. Needed with `offset`.
    out : (n, n_pixel) float32, optional
        Result.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n, n_pixel) float32, accurate to 1e-6 · scale

    Raises
    ------
    InputError
        If shapes or indices disagree, a parameter is not finite, `voltage` is not positive, |`amplitude_contrast`| > 1,
        or only one of `offset` and `which` is given.

    Examples
    --------
    >>> pixels = pycryo.kernels.half_plane(64, 32)
    >>> values = pycryo.ctf(
    ...     pixels.kx,
    ...     pixels.ky,
    ...     frequency_step=1 / (64 * 2.0),
    ...     defocus_u=[10000, 15000],
    ...     defocus_v=[10000, 14800],
    ...     defocus_angle=0,
    ...     voltage=300,
    ...     spherical_aberration=2.7,
    ...     amplitude_contrast=0.1,
    ... )
    >>> values.shape == (2, len(pixels)), values[:, pixels.shell == 0].round(3).ravel().tolist()
    (True, [0.10000000149011612, 0.10000000149011612])
    """
    parameters = {
        "frequency_step": frequency_step,
        "defocus_u": defocus_u,
        "defocus_v": defocus_v,
        "defocus_angle": defocus_angle,
        "voltage": voltage,
        "spherical_aberration": spherical_aberration,
        "amplitude_contrast": amplitude_contrast,
        "phase_shift": phase_shift,
        "b_factor": b_factor,
        "scale": scale,
    }
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is told
        coefficients = _coefficients(_checked(parameters))
    if not np.isfinite(coefficients).all():
        raise InputError("frequency_step, voltage, defoci: expected those of a microscope, got too large ones")
    n = len(coefficients)
    kx, ky = numbers("kx", kx, np.int32, (None,)), numbers("ky", ky, np.int32)
    if (offset is None) != (which is None):
        raise InputError("offset, which: expected both or none")
    if offset is None or which is None:
        offset, which = np.empty((0, len(kx))), np.full(n, -1, np.int32)
    offset, which = numbers("offset", offset, np.float64, finite=True), numbers("which", which, np.int32)
    out = result("out", out, (n, len(kx)), np.float32)
    _core.ctf(coefficients, kx, ky, offset, which, out, threads_or_default(threads))
    return out


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Parameters of the images, units as in `ctf`: each (n,) float64, finite."""

    frequency_step: NDArray[np.float64]
    defocus_u: NDArray[np.float64]
    defocus_v: NDArray[np.float64]
    defocus_angle: NDArray[np.float64]
    voltage: NDArray[np.float64]
    spherical_aberration: NDArray[np.float64]
    amplitude_contrast: NDArray[np.float64]
    phase_shift: NDArray[np.float64]
    b_factor: NDArray[np.float64]
    scale: NDArray[np.float64]


def _checked(parameters: dict[str, ArrayLike]) -> _Parameters:
    """The parameters, broadcast to each other.

    Raises
    ------
    InputError
        If one has another shape, is not finite or out of range.
    """
    arrays = [np.atleast_1d(numbers(name, value, np.float64)) for name, value in parameters.items()]
    for name, array in zip(parameters, arrays, strict=True):
        if array.ndim > 1:
            raise InputError(f"{name}: expected a number or shape (n,), got {array.shape}")
        if not np.isfinite(array).all():
            raise InputError(f"{name}: expected finite numbers only")
        if name == "voltage" and (array <= 0).any():
            raise InputError(f"voltage: expected positive kV, got {array.min()}")
        if name == "frequency_step" and (array < 0).any():
            raise InputError(f"frequency_step: expected 0 or more 1/Å, got {array.min()}")
        if name == "amplitude_contrast" and (np.abs(array) > 1).any():
            raise InputError(f"amplitude_contrast: expected -1 to 1, got {array[np.abs(array) > 1][0]}")
    return _Parameters(**dict(zip(parameters, np.broadcast_arrays(*arrays), strict=True)))


def _coefficients(of: _Parameters) -> NDArray[np.float64]:
    """Coefficients (n, 7) of the kernel: kx², kx·ky, ky², |k|⁴, constant, exponent of 2 per |k|², factor."""
    step, wavelength = of.frequency_step, electron_wavelength(of.voltage)
    per_defocus = np.pi * wavelength * step**2
    mean, half = (of.defocus_u + of.defocus_v) / 2, (of.defocus_u - of.defocus_v) / 2
    along, across = half * np.cos(2 * np.deg2rad(of.defocus_angle)), half * np.sin(2 * np.deg2rad(of.defocus_angle))
    return np.stack(
        [
            per_defocus * (mean + along),
            per_defocus * 2 * across,
            per_defocus * (mean - along),
            -np.pi / 2 * 1e7 * of.spherical_aberration * wavelength**3 * step**4,
            np.deg2rad(of.phase_shift) + np.arcsin(of.amplitude_contrast),
            -of.b_factor / 4 * step**2 / math.log(2),
            of.scale,
        ],
        axis=1,
    )
