"""Optics that were hidden from the file are found again, and nothing where there is nothing."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest
from hidden_optics import HIDDEN, MATRIX, PIXEL, N, deviations, half_maps, simulated

from pycryo.errors import InputError
from pycryo.io.particles import write_particles
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.optics.change import Change, changed, with_forms
from pycryo.refinement.optics.find import FindOptions, find_optics
from pycryo.refinement.optics.found import stated
from pycryo.refinement.optics.reference import from_map


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("hidden"), **HIDDEN)


def test_optics_are_found_with_a_map_of_the_truth(hidden):
    particles, truth = hidden
    found = find_optics(SerialComm(), particles, from_map(truth, None, 2 * PIXEL * 1.1), FindOptions())
    assert all(part.is_significant for part in found.groups[0].parts)
    for name, values in deviations(found).items():
        assert (np.abs(values) < 4).all(), name


def test_optics_are_found_with_half_maps_of_the_images(hidden):
    """Blurred by what is to be found; what all groups have in common of a scale is the map's, too."""
    particles, _ = hidden
    found = find_optics(SerialComm(), particles, half_maps(particles), FindOptions())
    again = find_optics(SerialComm(), found.particles, half_maps(found.particles), FindOptions())
    for name in ("beam tilt", "trefoil", "fourth order"):
        assert (np.abs(deviations(found)[name]) < 4.5).all(), name
    matrix = again.particles.optics.magnification[0]
    expected = np.array(MATRIX).reshape(2, 2)
    np.testing.assert_allclose(
        matrix / np.sqrt(np.linalg.det(matrix)), expected / np.sqrt(np.linalg.det(expected)), atol=2e-3
    )


def test_nothing_is_claimed_where_there_is_nothing(tmp_path):
    particles, _ = simulated(tmp_path)
    found = find_optics(SerialComm(), particles, half_maps(particles), FindOptions())
    assert [part.is_significant for part in found.groups[0].parts] == [False] * 4
    # Not even for the time of a pass: what low frequencies show is noise.
    assert not any(values.any() for values in astuple(found.groups[0].whole))
    write_particles(tmp_path / "o.star", found.particles, {})
    text = (tmp_path / "o.star").read_text()
    assert "rlnBeamTiltX" not in text
    assert "rlnMagMat00" not in text


def test_what_is_known_is_not_found_again(hidden):
    """With what was found put into the table, another search adds nothing."""
    particles, truth = hidden
    reference = from_map(truth, None, 2 * PIXEL * 1.1)
    found = find_optics(SerialComm(), particles, reference, FindOptions())
    again = find_optics(SerialComm(), found.particles, reference, FindOptions())
    assert not any(part.is_significant for part in again.groups[0].parts)
    assert again.particles.optics.beam_tilt.tolist() == found.particles.optics.beam_tilt.tolist()


def test_what_was_stated_is_bettered(hidden):
    """An estimate that is off by less than what is significant is replaced by the present one, if that is asked for."""
    particles, truth = hidden
    reference = from_map(truth, None, 2 * PIXEL * 1.1)
    found = find_optics(SerialComm(), particles, reference, FindOptions())
    error = found.groups[0].parts[0].error[0]
    off = replace(Change.none(), odd=np.array([0, 0, 2.5 * error, 0, 0, 0]))
    wrong = changed(found.particles, {0: off})
    left = find_optics(SerialComm(), wrong, reference, FindOptions())
    assert [part.is_added for part in left.groups[0].parts] == [False] * 4
    assert left.particles.optics.beam_tilt.tolist() == wrong.optics.beam_tilt.tolist()
    better = find_optics(SerialComm(), wrong, reference, FindOptions(betters=True))
    assert [part.is_significant for part in better.groups[0].parts] == [False] * 4
    assert [part.is_added for part in better.groups[0].parts] == [True] * 4
    away = [each.optics.beam_tilt[0, 0] - found.particles.optics.beam_tilt[0, 0] for each in (wrong, better.particles)]
    assert abs(away[1]) < 0.2 * abs(away[0])


def test_what_is_stated(hidden):
    particles, _ = hidden
    assert stated(particles.optics, 0) == set()
    none = Change.none()
    for name, change in {
        "beam tilt": replace(none, odd=np.array([0, 0, 1.0, 0, 0, 0])),
        "trefoil": replace(none, odd=np.array([0, 0, 0, 0, 0, 1.0])),
        "fourth order": replace(none, even=np.array([0, 0, 0, 0, 0, 1.0, 0, 0, 0])),
        "magnification": replace(none, magnification=np.array([0, 0.01, 0])),
    }.items():
        assert stated(changed(particles, {0: change}).optics, 0) == {name}
    lens = replace(particles, optics=replace(particles.optics, spherical_aberration=np.zeros(1)))
    assert stated(changed(lens, {0: replace(none, odd=np.array([0, 0, 1.0, 0, 0, 0]))}).optics, 0) == {"beam tilt"}


def test_only_what_is_asked_for_is_looked_for(hidden):
    particles, truth = hidden
    reference = from_map(truth, None, 2 * PIXEL * 1.1)
    found = find_optics(SerialComm(), particles, reference, FindOptions(kinds=["odd"]))
    assert [part.name for part in found.groups[0].parts] == ["beam tilt", "trefoil"]
    assert not found.particles.optics.is_distorted.any()
    assert not found.particles.optics.has_even.any()


def test_changes_go_where_they_belong(hidden):
    """A linear phase moves the images, a quadratic one changes the defocus; the rest goes into the optics table."""
    particles, _ = hidden
    none = Change.none()
    moved = changed(particles, {0: replace(none, odd=np.array([1.0, -2.0, 0, 0, 0, 0]))})
    np.testing.assert_allclose(moved.origin_x - particles.origin_x, 1 / (2 * np.pi), rtol=1e-9)
    np.testing.assert_allclose(moved.origin_y - particles.origin_y, -2 / (2 * np.pi), rtol=1e-9)
    assert not moved.optics.has_odd.any()
    weaker = changed(particles, {0: replace(none, even=np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 0]))})
    wavelength = 0.0196875
    np.testing.assert_allclose(weaker.defocus_u - particles.defocus_u, -1 / (np.pi * wavelength), rtol=1e-4)
    assert not weaker.optics.has_even.any()
    both = changed(particles, {0: Change(np.zeros(6), np.zeros(9), np.array([0.01, 0.002, -0.01]))})
    np.testing.assert_allclose(both.optics.magnification[0], [[1.01, 0.002], [0.002, 0.99]])


def forms(particles):
    """(n, 3) mean, along x and diagonal of the defoci, Å."""
    half, turn = (particles.defocus_u - particles.defocus_v) / 2, 2 * np.deg2rad(particles.defocus_angle)
    mean = (particles.defocus_u + particles.defocus_v) / 2
    return np.stack([mean, half * np.cos(turn), half * np.sin(turn)], axis=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("plain"))


def test_astigmatism_of_micrographs_is_found(plain, rng):
    particles, truth = plain
    errors = np.repeat(np.insert(rng.normal(0, 150, (N // 40, 2)), 0, 0, axis=1), 40, axis=0)
    wrong, reference = with_forms(particles, errors), from_map(truth, None, 2 * PIXEL * 1.1)
    found = find_optics(SerialComm(), wrong, reference, FindOptions(kinds=["astigmatism"]))
    left = np.abs(forms(found.particles) - forms(particles))[:, 1:]
    assert np.median(left) < 0.3 * np.median(np.abs(errors[:, 1:]))
    right = find_optics(SerialComm(), particles, reference, FindOptions(kinds=["astigmatism"]))
    assert np.median(np.abs(forms(right.particles) - forms(particles))[:, 1:]) < 20


def test_defoci_of_particles_are_found(plain, rng):
    particles, truth = plain
    errors = rng.normal(0, 300, N)
    wrong = replace(particles, defocus_u=particles.defocus_u + errors, defocus_v=particles.defocus_v + errors)
    reference = from_map(truth, None, 2 * PIXEL * 1.1)
    found = find_optics(SerialComm(), wrong, reference, FindOptions(kinds=["defocus"]))
    left = np.abs(forms(found.particles) - forms(particles))[:, 0]
    assert np.median(left) < 0.4 * np.median(np.abs(errors))
    right = find_optics(SerialComm(), particles, reference, FindOptions(kinds=["defocus"]))
    np.testing.assert_array_equal(right.particles.defocus_u, particles.defocus_u)


def test_astigmatism_needs_the_names_of_micrographs(plain):
    particles, truth = plain
    table = particles.tables["particles"].with_columns({}, drop=["rlnMicrographName"])
    nameless = replace(particles, tables={**particles.tables, "particles": table})
    with pytest.raises(InputError, match="no rlnMicrographName"):
        find_optics(SerialComm(), nameless, from_map(truth, None, 2 * PIXEL * 1.1), FindOptions(kinds=["astigmatism"]))


def test_a_phase_plate_is_found(plain):
    particles, truth = plain
    wrong = replace(particles, phase_shift=np.full(N, 10.0))
    reference = from_map(truth, None, 2 * PIXEL * 1.1)
    found = find_optics(SerialComm(), wrong, reference, FindOptions(kinds=["phase"]))
    assert [part.name for part in found.groups[0].parts] == ["fourth order", "phase shift"]
    np.testing.assert_allclose(found.particles.phase_shift, 0, atol=3)
    again = find_optics(SerialComm(), particles, reference, FindOptions(kinds=["phase"]))
    np.testing.assert_array_equal(again.particles.phase_shift, 0)
