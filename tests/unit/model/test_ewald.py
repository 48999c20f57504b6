"""What thick particles do to images; how alike the surfaces are that an image tells of."""

import numpy as np
import pytest
from particle_files import star_31

from pycryo.errors import InputError
from pycryo.io.particles import read_particles
from pycryo.kernels.pixels import half_plane
from pycryo.model.ewald import Ewald, check_ctf, check_images, coherence, curvature, kept_of_flat, separation


def test_coherence_is_the_transform_of_a_ball():
    """Of 0.8 of the diameter, summed over points; nothing beyond the first zero."""
    line = np.linspace(-1, 1, 4001)
    area = np.maximum(1 - line**2, 0)  # of the ball's cuts
    distance = np.linspace(0, 0.02, 30)  # 1/Å
    expected = np.cos(2 * np.pi * distance[:, None] * 0.8 * 50 * line) @ area / area.sum()  # a radius of 0.8 · 50 Å
    beyond = distance > 4.4934 / (np.pi * 0.8 * 100)
    found = coherence(distance, 100)
    np.testing.assert_allclose(found[~beyond], expected[~beyond], atol=1e-6)
    assert beyond.any()
    assert np.abs(found[beyond]).max() < 1e-12
    np.testing.assert_array_equal(coherence(-distance, 100), found)
    assert coherence(1e-9, 100) == 1


def test_surfaces_of_a_group(tmp_path):
    columns = {"rlnVoltage": "100", "rlnImageSize": "8", "rlnImagePixelSize": "2"}
    optics = read_particles(star_31(tmp_path, optics=columns), validate=False).optics
    bend = curvature(optics, np.zeros(3, np.int32))
    np.testing.assert_allclose(bend, [0.0370144 / 2 / 16] * 3, rtol=1e-5)  # λ of 100 kV: 0.037014 Å
    pixels = half_plane(8, 4)
    apart = separation(optics, 0, pixels, 200.0)
    square = (pixels.kx**2 + pixels.ky**2) / 16.0**2
    alike = coherence(2 * 0.0370144 / 2 * square, 200.0)
    np.testing.assert_allclose(apart, (1 - alike) / (1 + alike), atol=1e-6)
    # Half way between the surfaces is the central slice.
    assert kept_of_flat(100, 4.0, 200.0) == pytest.approx(float(coherence(0.0370144 / 2 / 4**2, 200.0)), abs=1e-6)


def test_what_cannot_be_done_is_refused(tmp_path):
    with pytest.raises(InputError, match="ewald-hand is 2, it must be 1 or -1"):
        Ewald(2, 100.0)
    with pytest.raises(InputError, match="diameter of the particle is 0 Å"):
        Ewald(1, 0)
    with pytest.raises(InputError, match="needs a CTF: leave out --no-ctf or --ewald"):
        check_ctf(has_ewald=True, has_ctf=False)
    check_ctf(has_ewald=False, has_ctf=False)
    multiplied = read_particles(star_31(tmp_path, optics={"rlnCtfDataAreCtfPremultiplied": "1"}), validate=False)
    with pytest.raises(InputError, match=r"multiplied by their CTF .* leave out --ewald"):
        check_images(multiplied)
