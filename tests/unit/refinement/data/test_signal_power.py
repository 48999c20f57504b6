"""The power of a particle from images whose density, CTF, noise and surroundings are known."""

from __future__ import annotations

from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from phantom import apply_ctf, blobs, write_set

from pycryo.io.particles import read_particles
from pycryo.kernels.shells import shell_counts, volume_shells
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.halves import split_halves
from pycryo.refinement.data.image_statistics import measure_images
from pycryo.refinement.data.partition import Geometry, deal
from pycryo.refinement.data.prepare import particle_power
from pycryo.refinement.data.signal_power import signal_power

BOX, PIXEL, N = 32, 3.0, 400
RADIUS = 36.0
NOTHING = replace(blobs(), masses=np.zeros(6))


def found(path, radius=RADIUS, box=BOX, **options):
    particles = read_particles(path)
    partition = deal(SerialComm(), particles, split_halves(particles, 1), None)
    statistics, _ = measure_images(partition, radius, False, finds_particle=True)
    return signal_power(statistics, particles, Geometry(box, PIXEL), **options)


def truth():
    transform = np.fft.rfftn(blobs().volume(BOX, PIXEL))
    return volume_shells(transform, transform)[:, 1] / shell_counts(BOX)


@pytest.mark.parametrize(("noise", "last", "least"), [(0.1, 9, 0.9), (2.0, 6, 0.75)])
def test_power_of_a_known_density(tmp_path, noise, last, least):
    """Up to what neighbouring shells add where they fall steeply."""
    power = found(write_set(tmp_path, blobs(), N, noise=noise))
    assert power.shape == (BOX // 2 + 1,)
    ratio = np.sqrt(power / truth())[3:last]
    assert ratio.min() > least
    assert ratio.max() < 1.3


def test_without_ctf(tmp_path):
    power = found(write_set(tmp_path, blobs(), N, with_ctf=False, noise=0.1), use_ctf=False)
    ratio = np.sqrt(power / truth())[3:9]
    assert ratio.min() > 0.9
    assert ratio.max() < 1.3


@pytest.mark.parametrize("ice", [0.0, 3.0])
def test_what_is_everywhere_does_not_count(tmp_path, rng, ice):
    """Noise, and ice, which scatters through the same CTF as the particle."""
    path = write_set(tmp_path, NOTHING, N, noise=1.0)
    scattered = apply_ctf(ice * rng.standard_normal((N, BOX, BOX)), PIXEL, read_particles(path).defocus_u)
    with mrcfile.open(tmp_path / "g1.mrcs", "r+") as file:
        file.data[:] += scattered.astype(np.float32)
    # In the first shells the CTF leaves next to nothing to divide by.
    assert found(path)[3:].max() < 0.05 * BOX**2 * (1 + ice**2)


def test_images_without_surroundings_tell_nothing(tmp_path):
    path = write_set(tmp_path, blobs(), 20, noise=0.1)
    np.testing.assert_array_equal(found(path, radius=75.0), 0)
    # Nor do those of another geometry than the model's.
    np.testing.assert_array_equal(found(path, box=BOX + 2), 0)


def test_power_within_a_circle(rng):
    """White noise within it only: σ² for each pixel and sample; what goes on outside is taken off."""
    radius = np.hypot(*np.meshgrid(*[np.arange(BOX) - BOX // 2] * 2))
    everywhere = rng.standard_normal((2000, BOX, BOX)).astype(np.float32)
    for strength in (0.0, 1.0):
        images = everywhere * np.where(radius < 8, np.sqrt(1 + strength), 1).astype(np.float32)
        power = particle_power(images, 10.0, BOX // 2 + 1).sum(axis=1)
        # Half of the plane's samples.
        expected = strength * (radius < 8).sum() * 0.5 * np.pi * (BOX / 2) ** 2
        assert power.mean() == pytest.approx(expected, rel=0.03, abs=5 * power.std() / np.sqrt(2000))
