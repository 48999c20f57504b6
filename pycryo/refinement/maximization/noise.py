"""Noise spectra and grey scales per optics group (method.md §7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter._sampling import systematic_resample, uniform
from pycryo.filter.support import Posterior
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.io.particles import Particles
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import FourierVolume
from pycryo.kernels.shells import image_shells, shell_sums
from pycryo.kernels.shift import shift
from pycryo.refinement.data.dataset import FirstLook
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


def shell_samples(box: int, n_shell: int) -> NDArray[np.float64]:
    """(n_shell,) independent samples of each shell of a box px image, at least 1."""
    return np.maximum(np.bincount(half_plane(box, box / 2).shell, minlength=n_shell)[:n_shell], 1).astype(np.float64)


def first_noise(look: FirstLook, particles: Particles) -> NDArray[np.float64]:
    """(n_group, n_shell) σ² per real component: all power counts as noise, which makes the first posteriors broad."""
    zero = np.zeros_like(look.power)
    return updated_noise(look, particles, zero, zero, np.ones_like(look.power))


def updated_noise(
    look: FirstLook,
    particles: Particles,
    cross: NDArray[np.float64],
    model: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> NDArray[np.float64]:
    """σ² from the residuals ⟨|X - M|²⟩; `cross` and `model` are `Overlap` sums per group, weighted by `noise`."""
    n_group, n_shell = look.power.shape
    result = np.ones((n_group, n_shell))
    for g in range(n_group):
        if not look.count[g]:
            continue
        box = int(particles.optics.box[g])
        residual = look.power[g] + noise[g] * (model[g] - 2 * cross[g])
        # A model that explains nearly everything is not believed.
        residual = np.maximum(residual, 0.05 * look.power[g])
        spectrum = residual / (2 * look.count[g] * shell_samples(box, n_shell))
        reach = (box + 1) // 2
        spectrum[reach:] = spectrum[reach - 1]
        positive = spectrum[spectrum > 0]
        if not len(positive):
            raise FloatingPointError("an optics group has no power in any shell")
        # The mean of an image is subtracted: its shell 0 says nothing about noise.
        spectrum[0] = spectrum[1] if n_shell > 1 else spectrum[0]
        result[g] = np.maximum(spectrum, 1e-6 * np.median(positive))
    return result


def overlap(
    volumes: Sequence[FourierVolume],
    target: Target,
    posterior: Posterior,
    r_high: float,
    model_scale: float,
    ids: NDArray[np.int64],
    seed: int,
    stream: int,
    n_shell: int,
) -> Overlap:
    """Products of each image with the model of its class at one pose drawn from its posterior."""
    near = target.between(0, r_high)
    pixels = near.pixels
    offset = np.ascontiguousarray(uniform(seed, stream, ids, 1)[:, 0])
    pick = systematic_resample(posterior.support.weight, offset, 1)[:, :1]
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


def without_junk(
    residual: NDArray[np.float64],
    expected: NDArray[np.float64],
    residual_of_particles: NDArray[np.float64],
    expected_of_particles: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(n_group, n_shell) factor that takes the power of other images than particles out of noise spectra.

    Sums of `Overlap` over the images of each group, and over the particles among them; 1 where nothing was compared.
    """
    known = (expected > 0) & (residual > 0) & (expected_of_particles > 0) & (residual_of_particles > 0)
    factor = np.ones_like(residual)
    np.divide(residual_of_particles * expected, residual * expected_of_particles, out=factor, where=known)
    return np.clip(factor, 0.1, 2.0)


def updated_scale(
    scale: NDArray[np.float64],
    cross: NDArray[np.float64],
    model: NDArray[np.float64],
    count: NDArray[np.int64],
    first: int,
    last: int,
) -> NDArray[np.float64]:
    """(n_group,) grey scales s with mean 1, from the shells `first` to `last` where the map is well determined."""
    numerator, denominator = cross[:, first:last].sum(1), model[:, first:last].sum(1)
    ratio = np.ones_like(scale)
    np.divide(numerator, denominator, out=ratio, where=(denominator > 0) & (numerator > 0))
    new = scale * np.clip(ratio, 0.5, 2.0)
    mean = np.average(new, weights=count) if count.sum() else 1.0
    return np.asarray(new / mean)
