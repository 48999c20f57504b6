"""Refinements of small sets whose poses and map are known: the answer is right, and always the same."""

from __future__ import annotations

from dataclasses import fields, replace

import mrcfile
import numpy as np
import pytest
from moving import hurry
from scene import lump, pose_errors, scene
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pycryo import RefineOptions, refine
from pycryo.geometry.symmetry import symmetry as point_group
from pycryo.io.particles import read_particles
from pycryo.maps.density import low_pass
from pycryo.maps.fsc import fsc, resolution_at
from pycryo.maps.slab_map import inverted
from pycryo.refinement import loop, step
from pycryo.refinement.start.reference import to_volume
from pycryo.report.verdict import poses_warning
from pycryo.threads import set_threads

# The images of these sets together tell what is coarser than 10 Å. A blob 30 Å from the centre moves by a quarter of
# that if its image is turned by 4.8 degrees.
RESOLUTION = 10.0
ANGLE = 4.8
SHIFT = 1.2  # Å; a shift moves all blobs alike and is found better than a turn


@pytest.fixture(autouse=True)
def threads_as_before():
    yield
    set_threads(None)


def check_against_truth(result, truth, errors):
    """Poses, map and half-maps fit."""
    angle, shift = errors
    assert np.median(angle) < ANGLE
    assert np.median(shift) < SHIFT
    # Nobody is lost: a wrong pose is anywhere, within 20 degrees by a chance of (0.35 - sin 0.35)/π = 0.2 %.
    assert (angle < 20).mean() > 0.97
    assert (result.map.box, result.map.pixel_size) == (truth.box, truth.pixel_size)
    # FSC 0.143 of two halves is 0.5 of their mean to the truth (Rosenthal & Henderson 2003), if nothing in them is
    # correlated but the truth: the resolution stated must be that, to 1.5 shells for the scatter of a shell's FSC and
    # the difference of the masks.
    body = ndimage.binary_dilation(truth.data > 0.05 * truth.data.max(), iterations=2)
    mask = ndimage.gaussian_filter(body.astype(float), 1)
    curve = fsc(result.map.data * mask, truth.data * mask)
    reached = resolution_at(curve, truth.box, truth.pixel_size, 0.5)
    assert reached < RESOLUTION
    field = truth.box * truth.pixel_size
    assert abs(field / result.resolution - field / reached) < 1.5
    for half in result.half_maps:
        assert fsc(half.data, truth.data)[1:4].min() > 0.9


@pytest.fixture(scope="module")
def main_run(tmp_path_factory):
    """120 images at a signal-to-noise ratio of 0.3 from a reference of 30 Å."""
    particles, truth, start = scene(tmp_path_factory.mktemp("main"), lump(), 120, snr=0.3)
    seen = []
    result = refine(
        particles, start, RefineOptions(ini_high=30.0, threads=2), observer=lambda s, o, h: seen.append((s, o, len(h)))
    )
    return particles, truth, start, result, seen


def test_finds_poses_and_map(main_run):
    particles, truth, start, result, _ = main_run
    check_against_truth(result, truth, pose_errors(result.poses, particles))
    # The reference had nothing beyond 30 Å, shell 3.7.
    assert fsc(start.data, truth.data)[7] < 0.5
    assert fsc(result.map.data, truth.data)[7] > 0.9
    # Grey values: the images are line sums of the true map in voxels.
    scale = (result.map.data * truth.data).sum() / np.square(truth.data).sum()
    assert scale == pytest.approx(1, abs=0.15)  # the Wiener filter and the blur of the poses take some


def test_history_and_observer(main_run):
    _, _, _, result, seen = main_run
    stages = [record.stage for record in result.history]
    assert stages == sorted(stages, key=["global", "local", "final"].index)
    assert {"global", "local", "final"} == set(stages)
    assert stages.count("final") == 1
    assert [record.number for record in result.history] == list(range(1, len(stages) + 1))
    assert result.resolution == result.history[-1].resolution
    assert all(record.decision and np.isfinite(record.resolution) for record in result.history)
    for record in result.history:
        said = result.history[record.number - 2].decision if record.number > 1 else ""
        assert (record.n_slices_scan > 0) == (record.stage == "global" or "scanned again" in said)
    assert [count for _, _, count in seen] == list(range(1, len(stages) + 1))
    for (setup, outcome, _), record in zip(seen, result.history, strict=True):
        assert outcome.record is record
        assert setup.box == 32
        assert (outcome.classes[0].map is not None) == outcome.is_final == (record.stage == "final")
        assert len(outcome.poses.rows) == 120


def test_poses_are_complete(main_run):
    _, _, _, result, _ = main_run
    poses = result.poses
    np.testing.assert_array_equal(poses.rows, np.arange(120))
    np.testing.assert_allclose(np.linalg.norm(poses.quaternion, axis=1), 1, atol=1e-12)
    for name in ("p_max", "n_significant", "log_evidence", "figure_of_merit"):
        assert getattr(poses, name).shape == (120,)
        assert np.isfinite(getattr(poses, name)).all()
    assert ((poses.p_max > 0) & (poses.p_max <= 1)).all()
    # Clear particles: explained about as well as expected, none of them taken for junk.
    assert np.median(poses.figure_of_merit) == pytest.approx(1, abs=0.3)
    assert result.history[-1].n_junk <= 2
    assert (poses.figure_of_merit < result.history[-1].score_threshold).sum() <= 2


@pytest.mark.parametrize("kept", [0, 1])
def test_half_sets_are_apart(main_run, kept):
    """Other images in one half leave the other half-map, but for what both share below 40 Å and the noise spectrum."""
    particles, _, start, _, _ = main_run
    mine, other = (np.flatnonzero(particles.random_subset == number) for number in (1 + kept, 2 - kept))
    chosen = (np.concatenate([mine[:30], other[part]]) for part in (slice(0, 30), slice(30, 60)))
    options = RefineOptions(ini_high=30.0, max_iter=3, threads=2)
    a, b = (refine(particles.subset(rows), start, options).half_maps for rows in chosen)
    same, different = (fsc(a[half].data, b[half].data)[4:10] for half in (kept, 1 - kept))
    assert (1 - same < 0.5 * (1 - different)).all()


def test_each_half_is_compared_with_its_own_reference(main_run, monkeypatch):
    particles, _, start, _, _ = main_run
    compared, made = [], []
    original = step.run_images

    def spy(setup, plan, volumes, *rest):
        for half, (volume,) in enumerate(volumes):
            copy = replace(volume, data=volume.data.copy())
            compared.append((plan.number, half, copy, plan.padding, plan.r_high))
        return original(setup, plan, volumes, *rest)

    monkeypatch.setattr(step, "run_images", spy)
    options = RefineOptions(ini_high=30.0, max_iter=3, threads=2)
    refine(particles.subset(np.arange(40)), start, options, observer=lambda s, o, h: made.append(o.state.references))
    for number, half, volume, padding, r_high in compared:
        if number > 1:
            one, other = (to_volume(made[number - 2][0][h].data, 32, padding, r_high).data for h in (half, 1 - half))
            # Both are single-precision transforms, done in another order; the corners are never read.
            near = 1e-5 * np.abs(one).max()
            radius = volume.radius
            line = np.square(np.arange(-radius, radius + 1))
            read = line[:, None, None] + line[:, None] + line[radius:] < radius**2
            np.testing.assert_allclose(volume.data[read], one[read], atol=near)
            assert np.abs(one - other)[read].max() > 10 * near
    assert [(number, half) for number, half, *_ in compared] == [(n, h) for n in (1, 2, 3) for h in (0, 1)]


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """30 clear images of 24 px, refined in under a second."""
    return scene(tmp_path_factory.mktemp("little"), lump(), 30, snr=0.8, geometries=((24, 4.5),))


def assert_same(one, other):
    """All of two results is equal to the last bit."""
    np.testing.assert_array_equal(one.map.data, other.map.data)
    for a, b in zip(one.half_maps, other.half_maps, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    for field in fields(one.poses):
        np.testing.assert_array_equal(getattr(one.poses, field.name), getattr(other.poses, field.name))
    assert [record.decision for record in one.history] == [record.decision for record in other.history]


def test_same_seed_same_result(little, monkeypatch):
    hurry(monkeypatch)
    particles, _, start = little
    first, *others = (
        refine(particles, start, RefineOptions(ini_high=30.0, max_iter=8, **options))
        for options in ({"threads": 1}, {"threads": 1, "preread": True}, {"threads": 2})
    )
    assert {"global", "local", "final"} <= {record.stage for record in first.history}
    for other in others:
        assert_same(first, other)
    another = refine(particles, start, RefineOptions(ini_high=30.0, max_iter=8, threads=2, seed=2))
    assert not np.isin(first.poses.quaternion, another.poses.quaternion).any()


C3 = Rotation.create_group("C3", axis="Z")
D2 = Rotation.create_group("D2", axis="Z")


@pytest.mark.parametrize("name, group", [("C3", C3), ("D2", D2)])
def test_symmetry(tmp_path, name, group):
    particles, truth, start = scene(tmp_path, lump(group, n=8), 120, snr=0.4)
    result = refine(particles, start, RefineOptions(ini_high=30.0, symmetry=name, threads=2))
    errors = pose_errors(result.poses, particles, group)
    check_against_truth(result, truth, errors)
    # The map itself has the symmetry: half a turn about z is exact on the grid.
    if name == "D2":
        turned = np.roll(result.map.data[:, ::-1, ::-1], 1, axis=(1, 2))
        inner = slice(2, -2)
        difference = np.abs(turned - result.map.data)[inner, inner, inner]
        # Each mate has its own sample of each image's poses: equal but for the spread of these.
        assert difference.max() < 0.2 * np.abs(result.map.data).max()


def test_halves_of_opposite_hands_are_brought_together(little, monkeypatch, caplog):
    """Half 2 starts from the inverse: a chiral start, so that both halves would keep their hands."""
    particles, truth, start = little
    first_state = loop.first_state

    def opposite(setup, reference):
        state = first_state(setup, reference)
        ((first, second),) = state.references
        return replace(state, references=((first, inverted(second)),))

    monkeypatch.setattr(loop, "first_state", opposite)
    caplog.set_level("INFO")
    result = refine(particles, start, RefineOptions(ini_high=30.0, threads=2))
    angle, _ = pose_errors(result.poses, particles)
    assert caplog.text.count("half-set 2 had found the other hand") == 1
    assert np.median(angle) < 2 * ANGLE  # few images
    assert (angle < 30).mean() > 0.9
    assert fsc(result.map.data, truth.data)[1:5].min() > 0.8


@pytest.mark.parametrize("name", [pytest.param("T", marks=pytest.mark.slow), "O", "I1"])
def test_polyhedral_symmetry(tmp_path, name):
    """Of a hollow body: what is near the centre looks alike from everywhere if there are many mates.

    Its inverse differs from it beyond 20 Å (I1; O: 30 Å): the start must show that, or the hand is a matter of chance.
    """
    group = Rotation.from_matrix(point_group(name).matrices)
    phantom = lump(group, n=3, extent=45.0, inner=0.7, seed=0)
    particles, truth, _ = scene(tmp_path, phantom, 60, snr=0.5, geometries=((40, 3.5),))
    start = low_pass(truth, 15.0)
    result = refine(particles, start, RefineOptions(ini_high=15.0, symmetry=name, threads=2))
    check_against_truth(result, truth, pose_errors(result.poses, particles, group))


GEOMETRIES = {
    "smaller pixels, larger box": ((32, 3.5), (40, 2.9)),
    "another pixel size only": ((32, 3.5), (32, 3.1)),
    "odd box": ((33, 3.5), (36, 3.2)),
}


@pytest.mark.parametrize("geometries", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_two_optics_groups(tmp_path, geometries):
    """Two microscopes see the same body; each image's pose and shift are right in Å."""
    particles, truth, start = scene(tmp_path, lump(), 132, snr=0.4, geometries=geometries)
    particles = particles.subset(np.arange(120))  # 66 and 54: the first group decides the map's grid
    result = refine(particles, start, RefineOptions(ini_high=30.0, max_iter=8, threads=2))
    check_against_truth(result, truth, pose_errors(result.poses, particles))
    for group in (0, 1):
        rows = np.flatnonzero(particles.optics_group == group)
        assert len(rows) == (66, 54)[group]
        angle, shift = pose_errors(result.poses, particles, rows=rows)
        assert np.median(angle) < ANGLE
        assert np.median(shift) < SHIFT


def test_noise_does_not_make_a_structure(tmp_path, main_run):
    """The same STAR file with images of noise alone, refined until nothing improves."""
    particles, truth, start, signal, _ = main_run
    for path in particles.stacks:
        images = np.random.default_rng(1).standard_normal(mrcfile.read(path).shape).astype(np.float32)
        with mrcfile.new(tmp_path / path.name, images) as file:
            file.voxel_size = 3.5
            file.set_image_stack()
    (tmp_path / "particles.star").write_text(particles.path.read_text())
    noise = refine(read_particles(tmp_path / "particles.star"), start, RefineOptions(ini_high=30.0, threads=2))
    assert signal.resolution < RESOLUTION
    # Noise explains them as well as the reference: no iteration claims more than that shows, nor does one improve.
    found = [record.resolution for record in noise.history]
    assert min(found) > 30 / 1.5
    assert max(found) < 1.05 * min(found)
    assert any("do not support a map" in record.decision for record in noise.history)
    spreads = [result.history[-1].spread_rotation for result in (noise, signal)]
    assert "do not support" in (poses_warning(spreads[0], noise.resolution, 30.0, point_group("C1")) or "")
    assert poses_warning(spreads[1], signal.resolution, 30.0, point_group("C1")) is None
    assert fsc(noise.map.data, truth.data)[4:].max() < 0.5
    # Poses of noise are anywhere: the median angle between random rotations is 113 degrees.
    angle, _ = pose_errors(noise.poses, particles)
    assert np.median(angle) > 60


@pytest.mark.parametrize("n", [2, 3, 5])
def test_very_few_images(tmp_path, n):
    """Nothing can be known, but nothing breaks."""
    particles, _, start = scene(tmp_path, lump(), n, snr=0.5, geometries=((20, 5.0),))
    result = refine(particles, start, RefineOptions(ini_high=30.0, max_iter=3, threads=1))
    assert len(result.poses.rows) == n
    for each in (result.map, *result.half_maps):
        assert np.isfinite(each.data).all()
        assert each.data.any()
