"""Float64 twin of `pycryo.kernels.ctf`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
) -> NDArray[np.float64]:
    """Parameters as in `pycryo.kernels.ctf.ctf`; the formula in polar coordinates."""
    step, u, v, angle, kilovolt, cs, w, phase, b, factor = (
        np.atleast_1d(np.asarray(value, float))[:, None]
        for value in (
            frequency_step,
            defocus_u,
            defocus_v,
            defocus_angle,
            voltage,
            spherical_aberration,
            amplitude_contrast,
            phase_shift,
            b_factor,
            scale,
        )
    )
    s = step * np.hypot(kx, ky)
    theta = np.arctan2(ky, kx)
    volt = 1000 * kilovolt
    wavelength = 12.2643247 / np.sqrt(volt * (1 + 0.978466e-6 * volt))
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (theta - np.deg2rad(angle))))
    argument = np.pi * wavelength * defocus * s**2 - np.pi / 2 * cs * 1e7 * wavelength**3 * s**4
    envelope = factor * np.exp(-b * s**2 / 4)
    argument = argument + np.deg2rad(phase) + np.arcsin(w)
    if offset is not None:
        rows = np.concatenate([np.asarray(offset, float), np.zeros((1, argument.shape[1]))])
        argument = argument + rows[np.asarray(which)]
    return np.asarray(envelope * np.sin(argument))
