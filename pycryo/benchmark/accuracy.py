"""Relative errors (root mean square) of kernels against their float64 twins, on small problems with fixed noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from pycryo.kernels import backprojector, gridding, projector, shells
from pycryo.kernels.compare import compare_scores, pack_images
from pycryo.kernels.compare_local import compare_local
from pycryo.kernels.ctf import ctf
from pycryo.kernels.defocus_scores import defocus_scores, defocus_sums
from pycryo.kernels.entries import Entries
from pycryo.kernels.images import images
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference import backprojector as backprojector_twin
from pycryo.kernels.reference import compare as compare_twin
from pycryo.kernels.reference import compare_local as compare_local_twin
from pycryo.kernels.reference import ctf as ctf_twin
from pycryo.kernels.reference import defocus_scores as defocus_scores_twin
from pycryo.kernels.reference import gridding as gridding_twin
from pycryo.kernels.reference import images as images_twin
from pycryo.kernels.reference import projector as projector_twin
from pycryo.kernels.reference import shells as shells_twin
from pycryo.kernels.reference import shift as shift_twin
from pycryo.kernels.shift import shift

BOX, R_HIGH = 48, 20
PIXELS = half_plane(BOX, R_HIGH)
K = (PIXELS.kx, PIXELS.ky)


def relative(found: Sequence[ArrayLike], expected: Sequence[ArrayLike]) -> float:
    """√(Σ|found - expected|² / Σ|expected|²), of all arrays together."""
    a, b = (np.concatenate([np.asarray(each).ravel() for each in arrays]) for arrays in (found, expected))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def noise(*shape: int) -> np.ndarray:
    """Standard normal float32, the same for each shape."""
    return np.random.default_rng(len(shape)).standard_normal(shape, dtype=np.float32)


def rotations(n: int) -> np.ndarray:
    """(n, 3, 3), random."""
    return np.asarray(Rotation.random(n, np.random.default_rng(1)).as_matrix())


def of_ctf() -> float:
    """50 images of all usual defoci."""
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {"defocus_u": rng.uniform(8000, 25000, 50), "defocus_v": rng.uniform(8000, 25000, 50)}
    values |= {"defocus_angle": rng.uniform(0, 180, 50), "voltage": 300, "spherical_aberration": 2.7}
    values |= {"frequency_step": 1 / (BOX * 1.1), "amplitude_contrast": 0.1}
    kx, ky = K
    return relative([ctf(kx, ky, **values)], [ctf_twin.ctf(kx, ky, **values)])


def of_shift() -> float:
    """Shifts of some px."""
    images, shifts = noise(4, 2, len(PIXELS)), 3.0 * noise(4, 5, 2).astype(np.float64)
    found = shift(images, *K, shifts, BOX)
    return relative([found], [shift_twin.shift(images.astype(np.float64), *K, shifts, BOX)])


def of_images() -> float:
    """Images of noise."""
    samples = noise(4, 2, len(PIXELS))
    return relative([images(samples, *K, BOX)], [images_twin.images(samples.astype(np.float64), *K, BOX)])


def of_shells() -> float:
    """Sums of two sets of images."""
    a, b = noise(2, 20, 2, len(PIXELS))
    n = R_HIGH + 1
    arguments = (PIXELS.shell, n)
    expected = shells_twin.image_shells(a.astype(np.float64), b.astype(np.float64), *arguments)
    return relative([shells.image_shells(a, b, *arguments)], [expected])


def volume() -> projector.FourierVolume:
    """A Hermitian one of noise."""
    radius = projector.volume_radius(2, R_HIGH)
    data = noise(2 * radius + 1, 2 * radius + 1, radius + 1, 2)
    data[:, :, 0] += data[::-1, ::-1, 0] * np.array([1, -1], np.float32)
    return projector.FourierVolume(data, BOX, 2, R_HIGH)


def complex_values(source: projector.FourierVolume) -> np.ndarray:
    """complex128."""
    return source.data[..., 0].astype(np.float64) + 1j * source.data[..., 1]


def of_projector() -> float:
    """Slices in random orientations."""
    source, turns = volume(), rotations(20)
    found = projector.project_slices(source, turns, *K)
    return relative([found], [projector_twin.project_slices(complex_values(source), turns, *K, 2.0)])


def of_compare() -> float:
    """Scores of standard deviation 4."""
    unit = np.float32(4 / np.sqrt(2 * len(PIXELS)))
    images, slices = unit * noise(3, 5, 2, len(PIXELS)), noise(64, 2, len(PIXELS))
    weights = unit * np.abs(noise(3, len(PIXELS)))
    found = compare_scores(pack_images(images, weights), slices)
    wide = [each.astype(np.float64) for each in (images, weights, slices)]
    return relative([found], [compare_twin.scores(wide[0], wide[1], wide[2])])


def of_compare_local() -> float:
    """Scores of neighbouring orientations and shifts."""
    source, turns = volume(), rotations(24).reshape(2, 12, 3, 3)
    images, weights = noise(2, 2, len(PIXELS)), np.abs(noise(2, len(PIXELS)))
    shifts = 2.0 * noise(2, 7, 2).astype(np.float64)
    found = compare_local(source, turns, shifts, images, weights, PIXELS)
    wide = (images.astype(np.float64), weights.astype(np.float64))
    return relative(
        [found], [compare_local_twin.compare_local(complex_values(source), turns, shifts, *wide, PIXELS, step=2.0)]
    )


def of_backprojector() -> float:
    """Both sums, of exact additions, as a refinement makes them."""
    images, weights = noise(20, 2, len(PIXELS)), np.abs(noise(20, len(PIXELS)))
    shifts = 2.0 * noise(20, 2).astype(np.float64)
    work = Entries(images, weights, np.arange(20), rotations(20), shifts, np.ones(20), *K)
    sums = backprojector.new_accumulators(BOX, r_high=R_HIGH)
    backprojector.insert(sums, work, quantum=(2.0**-30, 2.0**-30))
    value, weight = backprojector_twin.insert(sums.sphere, (sums.first, sums.last), work, box=BOX, padding=2)
    return relative([sums.re, sums.im, sums.weight], [value.real, value.imag, weight])


def of_defocus_scores() -> float:
    """Sums and scores of 9 changes."""
    n_bin, rng = 40, np.random.default_rng(2)
    images, slices = noise(2, 3, 4, 2, len(PIXELS))
    weights, angle = np.abs(noise(3, len(PIXELS))), 7 * noise(3, len(PIXELS))
    bin = rng.integers(0, n_bin, len(PIXELS)).astype(np.int32)
    phase, first, step = rng.uniform(0, 0.01, (3, n_bin)), np.full(3, -500.0), np.full(3, 100.0)
    sine, cosine = np.sin(angle), np.cos(angle)
    sums = defocus_sums(images, slices, weights, sine, cosine, bin, n_bin)
    found = defocus_scores(sums, phase, first, step, 9)
    turn = phase[:, None, bin] * (first[:, None] + step[:, None] * np.arange(9))[:, :, None]
    wide = [each.astype(np.float64) for each in (images, slices, weights, sine, cosine)]
    expected = defocus_scores_twin.defocus_scores(wide[0], wide[1], wide[2], wide[3], wide[4], turn)
    return relative([found], [expected])


def of_gridding_weights() -> float:
    """First weights of all layers."""
    sums = backprojector.new_accumulators(BOX, r_high=R_HIGH)
    sums.weight[:] = np.abs(noise(len(sums.weight)))
    ball = gridding.ball(sums.sphere, 2, 2 * BOX, R_HIGH)
    add = np.ones(ball.n_shell)
    found, expected = [], []
    for layer in range(sums.sphere.layers):
        first, last = sums.sphere.voxels(layer, layer + 1)
        weight = sums.weight[first:last]
        out = np.empty_like(weight)
        gridding.first_weight(ball, layer, weight, add, out)
        found.append(out)
        expected.append(gridding_twin.first_weight(ball, layer, weight, add))
    return relative(found, expected)
