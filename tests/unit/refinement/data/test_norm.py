"""Norm correction: gains of images are found from their noise, and nothing is found where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import write_set
from scene import lump
from thread_comm import run_ranks

from pycryo.io.particles import read_particles
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.halves import split_halves
from pycryo.refinement.data.image_statistics import measure_images
from pycryo.refinement.data.partition import deal

N, BOX = 60, 32


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """Noise of standard deviation 1 and a weak signal."""
    return read_particles(write_set(tmp_path_factory.mktemp("norm"), lump(), N, geometries=((BOX, 3.5),), noise=400.0))


def look_of(particles, gain, monkeypatch, size=1, **settings):
    from pycryo.refinement.data import partition as dataset

    original = dataset.iter_batches

    def scaled(particles, rows, **limits):
        for batch in original(particles, rows, **limits):
            yield type(batch)(batch.rows, batch.images * gain[batch.rows].astype(np.float32)[:, None, None])

    monkeypatch.setattr(dataset, "iter_batches", scaled)

    def work(comm):
        partition = deal(comm, particles, split_halves(particles, 1), None)
        return measure_images(partition, 50.0, False, **settings)[0]

    return run_ranks(size, work)


def test_gains_are_found(particles, monkeypatch):
    gain = np.random.default_rng(2).uniform(0.5, 1.5, N)
    (statistics,) = look_of(particles, gain, monkeypatch)
    # 300 samples beyond half of Nyquist tell the square of the amplitude to 1/√300, itself to 2.9 %; 3.5 of these.
    relative = statistics.norm / gain
    np.testing.assert_allclose(relative / relative.mean(), 1, atol=0.1)
    assert np.mean(np.square(statistics.norm)) == pytest.approx(1, abs=0.02)
    (plain,) = look_of(particles, np.ones(N), monkeypatch)
    # The spectra are those of images without gains, but for their common grey scale.
    shells = slice(2, BOX // 2)
    ratio = statistics.power[0, shells] / plain.power[0, shells]
    np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.1)


def test_equal_images_are_left_alone(particles, monkeypatch):
    (statistics,) = look_of(particles, np.ones(N), monkeypatch)
    np.testing.assert_array_equal(statistics.norm, 1)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_change_no_bit(particles, monkeypatch, size):
    gain = np.random.default_rng(2).uniform(0.5, 1.5, N)
    (alone,) = look_of(particles, gain, monkeypatch)
    monkeypatch.undo()
    for statistics in look_of(particles, gain, monkeypatch, size):
        np.testing.assert_array_equal(statistics.norm, alone.norm)
        np.testing.assert_array_equal(statistics.power, alone.power)
        np.testing.assert_array_equal(statistics.amplitude, alone.amplitude)


def test_one_strong_image_changes_nothing_for_the_others(particles, monkeypatch):
    (plain,) = look_of(particles, np.ones(N), monkeypatch)
    monkeypatch.undo()
    gain = np.ones(N)
    gain[7] = 3.5  # an image like others, on another grey scale: further than a factor of 3, not of 5
    (statistics,) = look_of(particles, gain, monkeypatch)
    assert len(statistics.bad) == 0
    # As for the gains above: 2.9 %, 3.5 of these.
    assert statistics.norm[7] == pytest.approx(3.5, rel=0.1)
    np.testing.assert_array_equal(np.delete(statistics.norm, 7), 1)
    np.testing.assert_allclose(statistics.power / plain.power, 1, atol=0.01)


@pytest.mark.parametrize("factor", [100.0, 1e-4, 1e20, 1e33])
@pytest.mark.parametrize("size", [1, 3])
def test_an_odd_image_is_as_if_it_were_not_there(particles, monkeypatch, size, factor):
    half = split_halves(particles, 1)
    half[7] = -1
    plain, _ = measure_images(deal(SerialComm(), particles, half, None), 50.0, False)
    gain = np.ones(N)
    gain[7] = factor
    for statistics in look_of(particles, gain, monkeypatch, size):
        assert statistics.left_out.counts == {"odd_level": 1}
        np.testing.assert_array_equal(statistics.bad, [7])
        for name in ("power", "count", "amplitude", "norm", "particle"):
            np.testing.assert_array_equal(getattr(statistics, name), getattr(plain, name))


@pytest.mark.parametrize("corrects_norm", [True, False])
def test_two_grey_scales_become_one(particles, monkeypatch, corrects_norm):
    gain = np.where(np.arange(N) < 20, 10.0, 1.0)
    (statistics,) = look_of(particles, gain, monkeypatch, corrects_norm=corrects_norm)
    assert len(statistics.bad) == 0
    np.testing.assert_allclose(statistics.norm / gain, 1, atol=0.1)
    (plain,) = look_of(particles, np.ones(N), monkeypatch)
    shells = slice(2, BOX // 2)
    np.testing.assert_allclose(statistics.power[0, shells] / plain.power[0, shells], 1, atol=0.1)
