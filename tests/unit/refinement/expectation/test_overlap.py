"""Images beside their models, against the formulas in float64."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from pycryo.filter.draws import Draws
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import fourier_volume
from pycryo.kernels.reference import projector as projector_twin
from pycryo.kernels.reference import shift as shift_twin
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.overlap import Overlap, overlap

BOX, R_HIGH, SCALE = 16, 5.5, 0.8
# More than two chunks of images.
N, N_SHELL = 70, 9


@pytest.fixture(scope="module")
def problem():
    """Two volumes, images of noise, and posteriors of three points; of each image one has all the weight."""
    rng = np.random.default_rng(4)
    volumes = [fourier_volume(rng.standard_normal((BOX, BOX, BOX)).astype(np.float32)) for _ in range(2)]
    pixels = half_plane(BOX, BOX / 2)
    target = Target(
        pixels,
        rng.standard_normal((N, 2, len(pixels))).astype(np.float32),
        rng.uniform(0.01, 0.1, (N, len(pixels))).astype(np.float32),
    )
    quaternion = rng.standard_normal((N, 3, 4))
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    weight = np.eye(3)[rng.integers(0, 3, N)]
    support = Support(quaternion, rng.normal(0, 1, (N, 3, 2)), weight, rng.integers(0, 2, (N, 3)).astype(np.int32))
    zeros, whole = np.zeros(N), np.zeros(N, np.int64)
    posterior = Posterior(
        support, quaternion[:, 0], support.shift[:, 0], np.zeros(N, np.int32), np.ones((N, 2)), *[zeros] * 5,
        whole, whole, zeros, zeros,
    )  # fmt: skip
    return volumes, target, posterior


def measure(problem, rows) -> Overlap:
    volumes, target, posterior = problem
    support = Support(*(getattr(posterior.support, f.name)[rows] for f in fields(Support)))
    part = replace(target, images=target.images[rows], weights=target.weights[rows])
    draws = Draws(1, 2, np.arange(N)[rows])
    return overlap(volumes, part, replace(posterior, support=support), R_HIGH, SCALE, draws, N_SHELL)


def test_equals_the_formulas(problem):
    volumes, target, posterior = problem
    near = target.between(0, R_HIGH)
    pixels, (image, point) = near.pixels, np.nonzero(posterior.support.weight)
    kinds = posterior.support.class_index[image, point]
    slices = np.empty((N, 2, len(pixels)))
    for i, turn in enumerate(quaternion_to_matrix(posterior.support.quaternion[image, point])):
        data = volumes[kinds[i]].data
        values = data[..., 0] + 1j * data[..., 1].astype(float)
        slices[i] = projector_twin.project_slices(values, turn[None], pixels.kx, pixels.ky, 2.0 * SCALE)[0]
    images, weights = near.images.astype(float), near.weights.astype(float)
    moves = posterior.support.shift[image, point][:, None]
    images = shift_twin.shift(images, pixels.kx, pixels.ky, moves, BOX)[:, 0]
    residue = images - weights[:, None] * slices

    def of_shells(values):
        return np.stack([values[:, pixels.shell == k].sum(axis=1) for k in range(N_SHELL)], axis=1)

    cross = of_shells((images * slices).sum(axis=1))
    model = of_shells(weights * np.square(slices).sum(axis=1))
    residual = of_shells(np.square(residue).sum(axis=1))
    expected, deviation = of_shells(2 * weights), 2 * np.sqrt(of_shells(np.square(weights)))
    share = model / np.maximum(np.bincount(pixels.shell, minlength=N_SHELL), 1)
    excess = (share * (residual - expected)).sum(axis=1) / np.sqrt(np.square(share * deviation).sum(axis=1))
    found = measure(problem, slice(None))
    # Sums of some 50 float32 samples with errors of 1e-6 of the greatest.
    for name, twin in (("cross", cross), ("model", model), ("residual", residual), ("expected", expected)):
        np.testing.assert_allclose(getattr(found, name), twin, atol=3e-6 * np.abs(twin).max(), rtol=0, err_msg=name)
    np.testing.assert_allclose(found.excess, excess, rtol=1e-5)
    # Nothing is there beyond the limit.
    assert not found.residual[:, 7:].any()


@pytest.mark.parametrize("rows", [[0], [31], [32], [69], [40, 3], list(range(33))])
def test_an_image_does_not_depend_on_the_others(problem, rows):
    """Nor on its chunk."""
    whole, part = measure(problem, slice(None)), measure(problem, np.array(rows))
    for field in fields(Overlap):
        np.testing.assert_array_equal(getattr(part, field.name), getattr(whole, field.name)[rows])
