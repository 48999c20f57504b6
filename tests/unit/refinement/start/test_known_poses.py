"""A start from the poses in the file, and priors that hold them there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import lump, pose_errors, scene
from scipy.spatial.transform import Rotation

from pycryo import RefineOptions, refine
from pycryo.errors import InputError, RunError
from pycryo.geometry.rotations import angle_between, quaternion_to_euler
from pycryo.geometry.symmetry import symmetry
from pycryo.io.particles import read_particles, write_particles
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.prior import PosePrior, poses_of, read_prior
from pycryo.refinement.start.known_poses import reference_from_poses

N = 80
LOCAL = RefineOptions(local=True, max_iter=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Particles with their true poses, the true map, a reference."""
    return scene(tmp_path_factory.mktemp("scene"), lump(), N, 0.4)


def rotations_of(particles) -> Rotation:
    angles = np.stack([particles.rot, particles.tilt, particles.psi], axis=1)
    return Rotation.from_euler("ZYZ", angles, degrees=True).inv()


def perturbed(particles, degrees: float, angstrom: float):
    """The particles with poses that are wrong by so much (standard deviation per axis)."""
    rng = np.random.default_rng(8)
    turn = Rotation.from_rotvec(rng.normal(0, np.radians(degrees), (particles.n, 3)))
    rot, tilt, psi = (turn * rotations_of(particles)).inv().as_euler("ZYZ", degrees=True).T
    x, y = (getattr(particles, f"origin_{axis}") + rng.normal(0, angstrom, particles.n) for axis in "xy")
    return replace(particles, rot=rot, tilt=tilt, psi=psi, origin_x=x, origin_y=y)


def away_from(particles, poses) -> tuple[np.ndarray, np.ndarray]:
    """Degrees and Å between the poses found, of all particles, and those in the file."""
    quaternion, shift = poses_of(particles)
    return np.degrees(angle_between(quaternion, poses.quaternion)), np.linalg.norm(shift - poses.shift, axis=1)


@pytest.fixture(scope="module")
def searched(made):
    """What a global search finds."""
    return refine(made[0], made[2], RefineOptions(max_iter=7))


@pytest.mark.parametrize("with_reference", [True, False])
def test_local_start_finds_what_a_global_search_finds(made, searched, with_reference):
    particles, _, reference = made
    start = perturbed(particles, 4.0, 2.0)
    local = refine(start, reference if with_reference else None, LOCAL)
    assert [record.stage for record in local.history] == ["local"] * 3 + ["final"]
    errors, expected = (np.median(pose_errors(each.poses, particles)[0]) for each in (local, searched))
    # Two seeds differ by a tenth.
    assert errors < 1.3 * expected
    assert errors < 0.6 * 6  # the median of what the poses of the start are wrong by
    assert local.resolution < 1.1 * searched.resolution


def test_poses_stay_within_a_tight_prior(made):
    particles, _, reference = made
    start = perturbed(particles, 6.0, 3.0)
    held = refine(start, reference, replace(LOCAL, sigma_ang=0.3, sigma_offset=0.2, max_iter=2))
    free = refine(start, reference, replace(LOCAL, max_iter=2))
    turned, moved = away_from(start, held.poses)
    # The images pull by several degrees and Å: the modes are a few σ away.
    assert np.median(turned) < 3 * 0.3
    assert np.median(moved) < 3 * 0.2
    assert np.percentile(turned, 95) < 6 * 0.3
    turned, moved = away_from(start, free.poses)
    assert np.median(turned) > 3
    assert np.median(moved) > 1


def test_prior_columns_are_the_centres(made, tmp_path):
    particles, _, reference = made
    rot, tilt, psi = quaternion_to_euler(poses_of(particles)[0])
    start = perturbed(particles, 4.0, 0.0)
    angles = dict(zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), (start.rot, start.tilt, start.psi), strict=True))
    centres = dict(zip(("rlnAngleRotPrior", "rlnAngleTiltPrior", "rlnAnglePsiPrior"), (rot, tilt, psi), strict=True))
    path = particles.path.parent / "prior.star"
    write_particles(path, particles, {**angles, **centres})
    found = refine(read_particles(path), reference, replace(LOCAL, sigma_ang=0.3, max_iter=2))
    error = away_from(particles, found.poses)[0]
    assert np.median(error) < 3 * 0.3  # while the poses in the file are wrong by 6 degrees


def test_what_a_prior_says():
    """Densities of turns and shifts of known size, in the terms of scipy, for a group of two."""
    rng = np.random.default_rng(3)
    group = symmetry("C2")
    centre = Rotation.random(3, rng=rng)
    turn = Rotation.from_rotvec([[0.02, 0.0, 0.01], [0, 0.3, 0], [0.1, -0.1, 0.1]])
    prior = PosePrior(group, np.roll(centre.as_quat(), 1, axis=1), 0.1, np.array([[0.0, 0], [4, 2], [1, 1]]), 2.0)
    rows = np.array([2, 0])
    mate = Rotation.from_euler("z", 180, degrees=True)
    rotations = np.stack([np.roll((turn[i] * centre[i] * s).as_quat(), 1) for i in rows for s in (mate, mate**2)])
    found = prior.log_rotation(rows, rotations.reshape(2, 2, 4))
    expected = -0.5 * np.square(turn.magnitude()[rows] / 0.1)
    np.testing.assert_allclose(found, np.stack([expected] * 2, axis=1), rtol=1e-6)
    shifts = rng.normal(size=(2, 5, 2))
    at = np.array([[1.0, 1], [0, 0]])[:, None]
    np.testing.assert_allclose(
        prior.log_shift(rows, shifts, 1.5, 9.0), -0.5 * np.square((1.5 * shifts - at) / 2.0).sum(-1)
    )
    free = replace(prior, sigma_rotation=None, sigma_shift=None)
    assert not free.log_rotation(rows, rotations.reshape(2, 2, 4)).any()
    np.testing.assert_allclose(free.log_shift(rows, shifts, 1.5, 9.0), -0.5 * np.square(shifts / 9).sum(-1))
    none = free.of(np.empty(0, np.int64))
    assert none.log_rotation(np.empty(0, np.int64), np.empty((0, 4, 4))).shape == (0, 4)


def test_prior_only_where_it_is_asked_for(made):
    particles, group = made[0], symmetry("C1")
    assert read_prior(particles, group, None, None, 0.05, 4.0) is None
    found = read_prior(particles, group, 0.1, None, 0.05, 4.0)
    assert (found.sigma_rotation, found.sigma_shift) == (0.1, None)
    found = read_prior(particles, group, None, 3.0, 0.05, 4.0)
    assert (found.sigma_rotation, found.sigma_shift) == (None, 3.0)


@pytest.mark.parametrize("label, factor", [("Angst", 1.0), ("", 3.5)])
def test_prior_columns_of_shifts(made, label, factor):
    particles = made[0]
    x, y = np.arange(N) * 0.1, np.ones(N)
    path = particles.path.parent / f"shifts{label}.star"
    write_particles(path, particles, {f"rlnOriginXPrior{label}": x, f"rlnOriginYPrior{label}": y})
    part = read_particles(path).subset([7, 3])
    found = read_prior(part, symmetry("C1"), None, None, 0.05, 4.0)
    assert (found.sigma_rotation, found.sigma_shift) == (None, 4.0)
    np.testing.assert_allclose(found.shift, [[-0.7 * factor, -factor], [-0.3 * factor, -factor]])


def test_continued_run_ends_the_same(made, tmp_path):
    """Stopped before its final iteration, and before its first one."""
    particles, _, reference = made
    options = replace(LOCAL, sigma_ang=2.0, max_iter=2)
    expected = refine(particles, reference, options)
    for number in (1, 2):
        folder = tmp_path / str(number)

        def fail(setup, outcome, history, number=number):
            if outcome.record.number == number:
                raise RunError("stopped")

        with pytest.raises(RunError, match="stopped"):
            refine(particles, reference, options, observer=fail, checkpoint=folder)
        found = refine(particles, reference, options, checkpoint=folder, resume=True)
        np.testing.assert_array_equal(found.poses.quaternion, expected.poses.quaternion)
        np.testing.assert_array_equal(found.map.data, expected.map.data)
    with pytest.raises(InputError, match="these differ: reference"):
        refine(particles, replace(reference, data=-reference.data), options, checkpoint=folder, resume=True)
    with pytest.raises(InputError, match="these differ: poses"):
        refine(perturbed(particles, 1, 1), reference, options, checkpoint=folder, resume=True)
    with pytest.raises(InputError, match=r"option sigma-ang \(was 2.0, is None\)"):
        refine(particles, reference, replace(options, sigma_ang=None), checkpoint=folder, resume=True)


def with_columns(particles, name: str, columns) -> object:
    path = particles.path.parent / name
    write_particles(path, particles, columns)
    return read_particles(path)


def test_wrong_files(made, tmp_path):
    particles, _, reference = made
    path = particles.path.parent / "no_tilt.star"
    path.write_text(particles.path.read_text().replace("_rlnAngleTilt", "_rlnAngleOther"))
    with pytest.raises(InputError, match=r"no_tilt\.star has no rlnAngleTilt; --local begins at the poses"):
        refine(read_particles(path), reference, LOCAL)
    with pytest.raises(InputError, match="has no rlnAngleTilt"):
        reference_from_poses(SerialComm(), read_particles(path), LOCAL)
    some = with_columns(particles, "some.star", {"rlnAngleTiltPrior": np.zeros(N)})
    with pytest.raises(InputError, match="has rlnAngleTiltPrior, but no rlnAngleRotPrior, rlnAnglePsiPrior"):
        refine(some, reference, LOCAL)
    values = np.zeros(N)
    values[4] = np.nan
    bad = with_columns(particles, "bad.star", {"rlnOriginXPriorAngst": values, "rlnOriginYPriorAngst": values * 0})
    with pytest.raises(InputError, match=r"bad\.star, row 5: rlnOriginXPriorAngst is not finite"):
        refine(bad, reference, LOCAL)


def test_wrong_options(made):
    with pytest.raises(InputError, match="sigma-ang is for a start from the poses in the file: add --local"):
        RefineOptions(sigma_ang=3.0)
    with pytest.raises(InputError, match="sigma-offset is for a start from the poses"):
        RefineOptions(sigma_offset=3.0)
    with pytest.raises(InputError, match="sigma-ang is -1"):
        RefineOptions(local=True, sigma_ang=-1.0)
    with pytest.raises(InputError, match="at most 30"):
        RefineOptions(local=True, sigma_ang=40.0)
    with pytest.raises(InputError, match="use 'local,defocus,optics', 'local,defocus' or 'local' with --local"):
        RefineOptions(local=True, stages="global,local")
    assert RefineOptions(local=True).stage_list() == ("local", "defocus", "optics")
    assert RefineOptions(local=True, ctf=False).stage_list() == ("local",)
    assert RefineOptions(local=True, stages="local").stage_list() == ("local",)
    with pytest.raises(InputError, match="not be finer than 40 Å: give --ref"):
        refine(made[0], None, replace(LOCAL, ini_high=20.0))
    with pytest.raises(InputError, match="give --ref, or --local"):
        refine(made[0], None, RefineOptions())


def test_dark_particles_make_a_white_reference(made):
    particles, truth, _ = made
    found = reference_from_poses(SerialComm(), particles, LOCAL)
    dark = reference_from_poses(SerialComm(), particles, replace(LOCAL, invert_contrast=True))
    np.testing.assert_array_equal(found.data, -dark.data)
    assert np.corrcoef(found.data.ravel(), truth.data.ravel())[0, 1] > 0.5  # noise is in it up to Nyquist
