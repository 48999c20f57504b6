"""Samples of the Fourier half plane."""

import numpy as np
import pytest

from pycryo.kernels import half_plane
from pycryo.threads import set_threads


@pytest.mark.parametrize("box, r_high", [(16, 5.0), (9, 4.0)])
@pytest.mark.parametrize("threads", [1, 3])
def test_samples_are_taken_from_their_places(box, r_high, threads):
    rng = np.random.default_rng(box)
    images = rng.normal(size=(5, box, box))
    transforms, pixels = np.fft.rfft2(images).astype(np.complex64), half_plane(box, r_high)
    set_threads(threads)
    try:
        taken = pixels.take(transforms)
    finally:
        set_threads(None)
    for j, (kx, ky) in enumerate(zip(pixels.kx, pixels.ky, strict=True)):
        np.testing.assert_array_equal(taken[:, 0, j] + 1j * taken[:, 1, j], transforms[:, ky, kx])


def test_columns_are_those_of_the_samples_between_two_radii():
    rng = np.random.default_rng(1)
    pixels = half_plane(12, 5.5)
    rows = rng.normal(size=(3, 2, len(pixels))).astype(np.float32)
    places = pixels.index(1.5, 3.5)
    found = pixels.columns(rows, places)
    radius = np.hypot(pixels.kx, pixels.ky)
    np.testing.assert_array_equal(found, rows[..., (radius >= 1.5) & (radius < 3.5)])
    assert 0 < len(places) < len(pixels)
