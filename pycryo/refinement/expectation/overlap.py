"""Images beside their models: what noise spectra, grey scales and scores are made of (docs/method.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws
from pycryo.filter.resampling import resample
from pycryo.filter.support import Posterior
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.kernels.pixels import Pixels
from pycryo.kernels.projector import FourierVolume
from pycryo.kernels.shells import image_shells, shell_sums
from pycryo.kernels.shift import shift
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.class_slices import class_slices


@dataclass(frozen=True, slots=True)
class Overlap:
    """Weighted products of images with their models, per image and shell.

    Attributes
    ----------
    cross : (n, n_shell) float64
        Σ Re(X* M)/σ².
    model : (n, n_shell) float64
        Σ|M|²/σ².
    residual : (n, n_shell) float64
        Σ|X̃ - W·S|².
    expected : (n, n_shell) float64
        What noise alone makes of it, Σ 2W.
    excess : (n,) float64
        See `excess_power`.
    """

    cross: NDArray[np.float64]
    model: NDArray[np.float64]
    residual: NDArray[np.float64]
    expected: NDArray[np.float64]
    excess: NDArray[np.float64]


def overlap(
    volumes: Sequence[FourierVolume],
    target: Target,
    posterior: Posterior,
    r_high: float,
    model_scale: float,
    draws: Draws,
    n_shell: int,
) -> Overlap:
    """Products of each image with the model of its class at one pose drawn from its posterior.

    Parameters
    ----------
    volumes : sequence of FourierVolume
        The reference of each class.
    target : Target
    posterior : Posterior
    r_high : float
        Samples below it are summed, Fourier px of the images.
    model_scale : float
        Fourier px of the model per Fourier px of the images.
    draws : Draws
    n_shell : int
    """
    near = target.between(0, r_high)
    pixels = near.pixels
    pick = resample(posterior.support.weight, draws.offset(), 1)[:, :1]
    quaternion = np.take_along_axis(posterior.support.quaternion, pick[..., None], axis=1)[:, 0]
    moved = np.take_along_axis(posterior.support.shift, pick[..., None], axis=1)
    classes = np.take_along_axis(posterior.support.class_index, pick, axis=1)[:, 0]
    slices = class_slices(volumes, classes, quaternion_to_matrix(quaternion), pixels, model_scale)
    images = shift(near.images, pixels.kx, pixels.ky, moved, pixels.box)[:, 0]
    cross = image_shells(np.ascontiguousarray(images), slices, pixels.shell, n_shell)[:, :, 0]
    explained = slices * near.weights[:, None]
    model = image_shells(explained, slices, pixels.shell, n_shell)[:, :, 0]
    images -= explained
    residual = image_shells(images, images, pixels.shell, n_shell)[:, :, 0]
    weights = near.weights.astype(np.float64)
    expected = 2 * shell_sums(weights, pixels.shell, n_shell)
    deviation = 2 * np.sqrt(shell_sums(np.square(weights), pixels.shell, n_shell))
    return Overlap(cross, model, residual, expected, excess_power(model, residual, expected, deviation, pixels))


def excess_power(
    model: NDArray[np.float64],
    residual: NDArray[np.float64],
    expected: NDArray[np.float64],
    deviation: NDArray[np.float64],
    pixels: Pixels,
) -> NDArray[np.float64]:
    """(n,) power that an image has beyond model and noise where the model has its own, in standard deviations of noise.

    Parameters
    ----------
    model, residual, expected : (n, n_shell) float64
        See `Overlap`.
    deviation : (n, n_shell) float64
        Standard deviation of the residual of noise alone.
    pixels : Pixels
        Samples that were summed.
    """
    share = model / np.maximum(np.bincount(pixels.shell, minlength=model.shape[1]), 1)
    excess = (share * (residual - expected)).sum(axis=1)
    return np.asarray(excess / np.maximum(np.sqrt(np.square(share * deviation).sum(axis=1)), 1e-300))
