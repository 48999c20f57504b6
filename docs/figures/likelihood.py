"""Log-likelihood along a turn of a simulated image, for several limits of the frequencies that are compared."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation
from style import BLUE, GREEN, GREY, RED, panels, particle, save

from pycryo.kernels.compare_local import compare_local
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import fourier_volume, project_slices

_BOX, _SEED = 64, 1
# Standard deviation of the noise per Fourier component, in units of the slice's mean amplitude at shell 8.
_NOISE = 2.0
_LIMITS = ((4, GREY), (8, GREEN), (20, BLUE))


def draw() -> None:
    """docs/images/method_likelihood.png"""
    density = particle(_BOX, narrower=1.5)
    volume = fourier_volume(density)
    truth = Rotation.from_euler("ZYZ", [40, 65, -20], degrees=True)
    angle = np.linspace(-180, 180, 721)
    turns = truth.inv() * Rotation.from_rotvec(np.deg2rad(angle)[:, None] * [0.36, 0.48, 0.8])
    rotations = turns.inv().as_matrix()

    pixels = half_plane(_BOX, 30)
    clean = project_slices(volume, truth.as_matrix()[None], pixels.kx, pixels.ky)
    sigma = _NOISE * np.sqrt(np.square(clean[..., pixels.shell == 8]).mean())
    image = clean + sigma * np.random.default_rng(_SEED).standard_normal(clean.shape)

    figure, axes = panels(1, 2, 2.5)
    for limit, colour in _LIMITS:
        keep = pixels.index(1, limit)
        near = Pixels(_BOX, pixels.kx[keep], pixels.ky[keep], pixels.shell[keep])
        weights = np.full((1, len(keep)), sigma**-2, np.float32)
        score = compare_local(volume, rotations[None], np.zeros((1, 1, 2)), image[..., keep] / sigma**2, weights, near)
        score = np.asarray(score, np.float64).ravel()
        axes[0].plot(angle, score, color=colour)
        axes[1].plot(angle, np.exp(score - score.max()), color=colour, label=f"r_high = {limit} px")
    for one in axes:
        one.axvline(0, color=RED, lw=0.8, ls="--")
    axes[0].set(xlabel="angle from the true pose, °", ylabel="log-likelihood ℓ", xticks=[-180, -90, 0, 90, 180])
    axes[1].legend(loc="upper right")
    axes[1].set(xlim=(-45, 45), xlabel="angle from the true pose, °", ylabel="likelihood (relative)")
    save(figure, "likelihood")
