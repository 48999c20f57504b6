"""Images beside their models: what noise spectra, grey scales and scores are made of.

See docs/method.md, Noise and grey scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws
from pycryo.filter.resampling import resample
from pycryo.filter.support import Posterior
from pycryo.kernels.pixels import Pixels
from pycryo.kernels.projector import FourierVolume
from pycryo.kernels.shells import image_shells, shell_sums
from pycryo.kernels.shift import shift
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.class_slices import class_slices

# Images at a time.
_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Overlap:
    """Weighted products of images with their models, per image and shell.

    Attributes
    ----------
    cross : (n, n_shell) float64
        Σ Re(X* M)/σ². Of images that were multiplied by their CTF, both are, and CTF² has a mean of 1 in each shell.
    model : (n, n_shell) float64
        Σ|M|²/σ², so.
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
    pick = resample(posterior.support.weight, draws.offset(), 1)[:, :1]
    quaternion = np.take_along_axis(posterior.support.quaternion, pick[..., None], axis=1)[:, 0]
    moved = np.take_along_axis(posterior.support.shift, pick[..., None], axis=1)
    classes = np.take_along_axis(posterior.support.class_index, pick, axis=1)[:, 0]
    parts = [
        _overlap(
            volumes,
            near,
            rows,
            classes[rows],
            near.matrices(quaternion[rows], np.arange(len(near))[rows]),
            moved[rows],
            model_scale,
            n_shell,
        )
        for rows in (slice(first, first + _CHUNK) for first in range(0, len(near), _CHUNK))
    ]
    return Overlap(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _overlap(
    volumes: Sequence[FourierVolume],
    near: Target,
    rows: slice,
    classes: NDArray[np.int32],
    rotations: NDArray[np.float64],
    moved: NDArray[np.float64],
    model_scale: float,
    n_shell: int,
) -> tuple[NDArray[np.float64], ...]:
    """The columns of `Overlap` of the images `rows`, few enough for a cache."""
    pixels, weights = near.pixels, near.weights[rows]
    slices = class_slices(volumes, classes, rotations, pixels, model_scale)
    images = shift(near.images[rows], pixels.kx, pixels.ky, moved, pixels.box)[:, 0]
    cross = image_shells(np.ascontiguousarray(images), slices, pixels.shell, n_shell)[:, :, 0]
    explained = slices * weights[:, None]
    model = image_shells(explained, slices, pixels.shell, n_shell)[:, :, 0]
    power = model
    if near.is_premultiplied:
        part = _relative(weights, pixels, n_shell)[:, None]
        cross = image_shells(images * part, slices, pixels.shell, n_shell)[:, :, 0]
        power = image_shells(explained * part, slices, pixels.shell, n_shell)[:, :, 0]
    images -= explained
    residual = image_shells(images, images, pixels.shell, n_shell)[:, :, 0]
    # Sums of W and W² over the shells, as those of W beside 1.
    pair = np.zeros((2, *images.shape), np.float32)
    pair[0, :, 0], pair[1, :, 0] = weights, 1
    sums = image_shells(pair[0], pair[1], pixels.shell, n_shell)
    expected, deviation = 2 * sums[:, :, 0], 2 * np.sqrt(sums[:, :, 1])
    return cross, power, residual, expected, excess_power(model, residual, expected, deviation, pixels)


def _relative(weights: NDArray[np.float32], pixels: Pixels, n_shell: int) -> NDArray[np.float32]:
    """(n, n_pixel) weights, whose mean is 1 in each shell."""
    count = np.maximum(np.bincount(pixels.shell, minlength=n_shell), 1)
    mean = shell_sums(weights.astype(np.float64), pixels.shell, n_shell) / count
    return (weights / np.maximum(mean, 1e-300)[:, pixels.shell]).astype(np.float32)


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
