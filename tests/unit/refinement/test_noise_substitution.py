"""Images with the phases of noise beyond a resolution, and what a comparison makes of the curves."""

from dataclasses import replace

import numpy as np
import pytest
from particle_files import star_31

from pycryo.cli.commands.validate import describe
from pycryo.io.batches import read_images
from pycryo.io.particles import read_particles
from pycryo.maps.fsc import Fsc
from pycryo.parallel.comm import SerialComm
from pycryo.refinement import noise_substitution as module
from pycryo.refinement.noise_substitution import compare, substituted, write_substituted


def test_phases_beyond_are_noise_and_all_else_stays(rng):
    images = rng.normal(size=(40, 16, 16)).astype(np.float32) + 3
    numbers = np.arange(40) * 7
    found = substituted(images, 4.5, numbers, seed=2)
    radius = np.hypot(np.fft.fftfreq(16, 1 / 16)[:, None], np.fft.fftfreq(16, 1 / 16))
    before, after = np.fft.fft2(images), np.fft.fft2(found)
    near = radius < 4.5
    np.testing.assert_allclose(after[:, near], before[:, near], atol=2e-5)
    np.testing.assert_allclose(np.abs(after), np.abs(before), atol=2e-4)
    turn = after[:, ~near] / before[:, ~near]
    inside = np.abs(turn.imag) > 1e-3  # samples that are their own mates are real
    assert abs(turn[inside].mean()) < 4 / np.sqrt(inside.sum() / 2)
    np.testing.assert_array_equal(substituted(images[7:8], 4.5, numbers[7:8], seed=2)[0], found[7])
    assert np.abs(substituted(images[:1], 4.5, numbers[:1], seed=3) - found[:1]).max() > 0.1


def test_copies_stay_copies_and_stacks_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_STACK", 2)
    rows = {i: {"rlnImageName": f"{number:06d}@a.mrcs"} for i, number in enumerate((3, 1, 5, 3, 2))}
    particles = read_particles(star_31(tmp_path, n=5, rows=rows))
    path = write_substituted(SerialComm(), particles, tmp_path / "out", 6.0, 1)
    assert sorted(each.name for each in (path.parent / "images").iterdir()) == [
        f"images_{number:06d}.mrcs" for number in (1, 2)
    ]
    found = read_particles(path)
    order, expected = np.argsort(found.rows), np.argsort(particles.rows)
    new, old = read_images(found, order), read_images(particles, expected)
    assert [particles.label(i) for i in expected] == [f"{n}@{tmp_path}/a.mrcs" for n in (3, 1, 5, 3, 2)]
    np.testing.assert_array_equal(new[0], new[3])
    assert len(np.unique(new.reshape(5, -1), axis=0)) == 4
    for one, other in zip(new, old, strict=True):
        expected_one = substituted(other[None], 8 * 1.5 / 6.0, np.zeros(1, int), 1)[0]
        near = np.hypot(np.fft.fftfreq(8, 1 / 8)[:, None], np.fft.fftfreq(8, 1 / 8)) < 2
        np.testing.assert_allclose(np.fft.fft2(one)[near], np.fft.fft2(expected_one)[near], atol=1e-4)
    np.testing.assert_array_equal(found.defocus_u, particles.defocus_u)
    assert found.tables["particles"].values(texts=["myColumn"])["myColumn"].tolist() == [f"x{i}" for i in range(1, 6)]


def curves(masked, corrected=None):
    masked = np.asarray(masked, float)
    corrected = masked if corrected is None else np.asarray(corrected, float)
    return Fsc(32, 2.0, masked, masked, np.zeros_like(masked), corrected, len(masked))


def test_curves_are_freed_of_what_is_made_of_noise():
    run = curves(np.linspace(1, 0, 17))
    noise = curves([1.0] * 5 + [0.4] * 3 + [0.2] * 9, [1.0] * 5 + [0.01] * 12)
    found = compare(run, noise, 64 / 4.0)  # noise from shell 4 on
    assert (found.first, found.last) == (6, 13)
    np.testing.assert_array_equal(found.true[:6], run.masked[:6])
    np.testing.assert_allclose(found.true[6:8], (run.masked[6:8] - 0.4) / 0.6)
    np.testing.assert_allclose(found.true[8:], (run.masked[8:] - 0.2) / 0.8)
    assert found.resolution > run.resolution_0143
    assert "do not agree on noise" in describe(found)[-1]
    agreeing = replace(noise, corrected=np.full(17, 0.2))
    assert "claims too much" in describe(compare(run, agreeing, 64 / 4.0))[-1]


@pytest.mark.parametrize("beyond", [4.0, 60.0])
def test_borders_of_the_shells(beyond):
    found = compare(curves(np.ones(17)), curves(np.zeros(17)), beyond)
    assert 1 <= found.first <= found.last <= 16
    assert len(found.left) >= 1
