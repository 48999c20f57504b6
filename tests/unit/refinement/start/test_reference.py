"""The reference before the first iteration: on a coarse grid, transformed for slices."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import blobs
from scipy.spatial.transform import Rotation

from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import project_slices
from pycryo.maps.density import Map, to_points
from pycryo.model.solve import grid_box
from pycryo.refinement.start.reference import to_volume


def exact_slices(rotations: np.ndarray, kx: np.ndarray, ky: np.ndarray, box: int, pixel: float) -> np.ndarray:
    """Transform of the phantom's projections in line sums of voxels: real, then imaginary parts."""
    phantom = blobs()
    k = np.stack([kx, ky, np.zeros(len(kx))], axis=1) / (box * pixel)
    out = np.empty((len(rotations), 2, len(kx)))
    for rotation, values in zip(rotations, out, strict=True):
        q = k @ rotation  # Aᵀk of each sample
        total = np.zeros(len(kx), complex)
        for centre, width, mass in zip(phantom.centres, phantom.widths, phantom.masses, strict=True):
            total += mass * np.exp(-2 * np.pi**2 * width**2 * np.square(q).sum(1) - 2j * np.pi * q @ centre)
        values[:] = total.real, total.imag
    return out / pixel**3  # density per Å³, summed over voxels


@pytest.mark.parametrize("box, pixel", [(48, 2.0), (47, 2.0)])
@pytest.mark.parametrize("r_high", [6.0, 9.5, 24.0])
def test_coarse_reference_has_the_slices_of_the_whole_map(box, pixel, r_high):
    """A reference on the grid of its limit serves images of the full box: same frequencies, same grey values."""
    r_high = min(r_high, box / 2 - 1)
    source = Map(blobs().volume(box, pixel).astype(np.float32), pixel)
    coarse = to_points(source, grid_box(box, r_high)).data
    assert len(coarse) == grid_box(box, r_high)
    assert coarse.dtype == np.float32
    rotations = Rotation.random(5, rng=np.random.default_rng(1)).as_matrix()
    pixels = half_plane(box, r_high)
    found, full = (
        project_slices(to_volume(each, box, 2, r_high), rotations, pixels.kx, pixels.ky)
        for each in (coarse, source.data)
    )
    assert to_volume(coarse, box, 2, r_high).box == box
    peak = np.abs(full).max()
    # The coarse grid holds the same Fourier components, up to its own Nyquist. What the map has there (its blobs are
    # 3 Å wide) is missing between the padded samples inwards, with tails of a few percent two shells further in.
    cut = np.exp(-2 * np.pi**2 * 3.0**2 * (grid_box(box, r_high) / 2 / (box * pixel)) ** 2)
    np.testing.assert_allclose(found, full, atol=(0.04 * cut + 1e-6) * peak)
    # Trilinear interpolation at padding 2: a few percent of the amplitudes next to it (Penczek et al. 1992), most at
    # the peak itself, which is read at a grid point, where the division by sinc² raises it.
    np.testing.assert_allclose(found, exact_slices(rotations, pixels.kx, pixels.ky, box, pixel), atol=0.04 * peak)
    # On average over all samples the amplitude is right.
    expected = exact_slices(rotations, pixels.kx, pixels.ky, box, pixel)
    assert (found * expected).sum() / np.square(expected).sum() == pytest.approx(1, abs=0.01)


def test_volume_reads_what_is_asked_for():
    volume = to_volume(np.ones((20, 20, 20), np.float32), 48, 2, 7.0)
    assert (volume.box, volume.padding, volume.r_high) == (48, 2, 7.0)
    assert to_volume(np.ones((20, 20, 20), np.float32), 48, 2, 24.0).r_high == 9.0  # what 20 points hold
