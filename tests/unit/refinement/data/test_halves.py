"""Half-sets: those of the file, and drawn ones, which keep relatives together."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import starfile
from phantom import blobs, write_set

from pycryo.io.particles import read_particles
from pycryo.refinement.data.halves import draw_halves, halves_of_pixels, images_told, split_halves


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """24 particles in two optics groups: 16 px of 3 Å and 20 px of 2.5 Å."""
    folder = tmp_path_factory.mktemp("two")
    return read_particles(write_set(folder, blobs(), 24, geometries=((16, 3.0), (20, 2.5)), noise=3.0))


def with_halves(particles, subset):
    return replace(particles, random_subset=np.broadcast_to(subset, particles.n).astype(np.int32))


# --- of the file ------------------------------------------------------------------------------------------------------


def test_half_sets_of_the_file_are_kept(particles, caplog):
    assert set(np.unique(particles.random_subset)) == {1, 2}
    for seed in (0, 7):
        np.testing.assert_array_equal(split_halves(particles, seed), particles.random_subset - 1)
    assert not caplog.records


@pytest.mark.parametrize("given", [1, 2, [1] * 23 + [2], [0] * 20 + [2] * 4])
def test_half_sets_of_one_side_are_drawn_anew(particles, given, caplog):
    half = split_halves(with_halves(particles, given), 3)
    assert sorted(half.tolist()) == [0] * 12 + [1] * 12
    np.testing.assert_array_equal(half, split_halves(with_halves(particles, 0), 3))
    assert "which are no halves: all are drawn anew" in caplog.text


def test_gaps_are_drawn_and_the_others_stay(particles, caplog):
    given = np.array([1, 2, 2] * 8)
    given[[0, 7, 20, 22, 23]] = 0
    half = split_halves(with_halves(particles, given), 3)
    np.testing.assert_array_equal(half[given > 0], given[given > 0] - 1)
    assert np.count_nonzero(half) == 12
    assert "5 particles have no half-set" in caplog.text


# --- drawn ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(8))
def test_drawn_half_sets_are_balanced_and_depend_on_the_seed(particles, n):
    particles = with_halves(particles.subset(np.arange(n)), 0)
    halves = [split_halves(particles, seed) for seed in range(40)]
    for half in halves:
        assert half.shape == (n,)
        assert np.count_nonzero(half == 0) == (n + 1) // 2
        assert np.count_nonzero(half == 1) == n // 2
    np.testing.assert_array_equal(split_halves(particles, 5), halves[5])
    if n > 1:
        # Every particle is in either half for some of 40 seeds: all but never by chance (2^-39).
        assert all(set(column) == {0, 1} for column in np.transpose(halves).tolist())


@pytest.mark.parametrize("seed", range(5))
def test_families_stay_together_and_halves_are_balanced(rng, seed):
    n = 200
    first = rng.integers(0, n, n)
    family = np.array([np.flatnonzero(first == value)[0] for value in first])
    given = rng.choice(np.array([-1, -1, -1, 0], np.int8), n)
    half = draw_halves(given, family, seed)
    assert set(half.tolist()) == {0, 1}
    for row in np.unique(family):
        assert len(set(half[family == row].tolist())) == 1
    np.testing.assert_array_equal(half[given == 0], 0)
    anew = draw_halves(np.full(n, -1, np.int8), family, seed)
    assert abs(np.count_nonzero(anew) - n / 2) <= 0.5
    # A chance of 2^-100: other seeds draw others.
    assert (anew != draw_halves(np.full(n, -1, np.int8), family, seed + 9)).any()


def test_gaps_follow_most_of_their_family():
    family = np.array([0, 0, 0, 0, 4, 4])
    given = np.array([1, 1, 0, -1, -1, 0], np.int8)
    np.testing.assert_array_equal(draw_halves(given, family, 1), [1, 1, 0, 1, 0, 0])


# --- relatives in files -----------------------------------------------------------------------------------------------


def changed_file(folder, change, n=12):
    """Particles of a file of `n`, after `change` of its table."""
    path = write_set(folder, blobs(), n, geometries=((16, 3.0),), noise=3.0)
    tables = starfile.read(path)
    tables["particles"] = change(tables["particles"].drop(columns="rlnRandomSubset"))
    starfile.write(tables, path, overwrite=True)
    return read_particles(path)


def test_copies_are_counted_and_in_one_half(tmp_path, caplog):
    copied = changed_file(tmp_path, lambda table: table.iloc[[*range(12), 3, 3, 8, 0]])
    image = images_told(copied)
    assert "16 rows show 12 images: 4 rows repeat one" in caplog.text
    assert len(np.unique(image)) == 12
    for seed in range(5):
        half = split_halves(copied, seed)
        np.testing.assert_array_equal(half, half[image])
        assert np.count_nonzero(half) == 8


def test_stacks_of_two_names_are_one(tmp_path):
    def renamed(table):
        (tmp_path / "link").symlink_to(tmp_path)
        return pd.concat([table, table.assign(rlnImageName=table["rlnImageName"].str.replace("@", "@link/"))])

    assert len(np.unique(images_told(changed_file(tmp_path, renamed)))) == 12


def test_hard_links_are_one_stack(tmp_path):
    def linked(table):
        (tmp_path / "other.mrcs").hardlink_to(tmp_path / "g1.mrcs")
        return pd.concat([table, table.assign(rlnImageName=table["rlnImageName"].str.replace("g1.", "other."))])

    assert len(np.unique(images_told(changed_file(tmp_path, linked)))) == 12


def test_images_with_the_same_pixels_go_to_one_half(particles, caplog):
    particles = with_halves(particles, 0)
    half = split_halves(particles, 3)
    n = np.arange(particles.n)
    assert halves_of_pixels(particles, half, n, 3) is half
    twin = np.where(n >= 12, n - 12, n)
    together = halves_of_pixels(particles, half, twin, 3)
    np.testing.assert_array_equal(together, together[twin])
    assert np.count_nonzero(together) == 12
    assert "every image is listed 2 times with different poses" in caplog.text
    caplog.clear()
    parted = with_halves(particles, np.where(n >= 12, 2, 1))
    halves_of_pixels(parted, split_halves(parted, 3), twin, 3)
    assert "rlnRandomSubset parts relatives: 24 rows" in caplog.text
    np.testing.assert_array_equal(images_told(particles, twin), twin)


def test_expanded_sets_are_recognised(tmp_path, caplog):
    def expanded(table):
        turned = [table.assign(rlnAnglePsi=table["rlnAnglePsi"] + turn) for turn in (0, 90, 180)]
        return pd.concat(turned)

    particles = changed_file(tmp_path, expanded)
    half = split_halves(particles, 2)
    assert "every image is listed 3 times with different poses: a symmetry-expanded set" in caplog.text
    assert "of 12 images" in caplog.text
    assert np.count_nonzero(half) == 18


def picked(x, **columns):
    """A change of a table: all from one micrograph, at these coordinates."""
    return lambda table: table.assign(rlnMicrographName="m.mrc", rlnCoordinateX=x, rlnCoordinateY=100.0, **columns)


@pytest.mark.parametrize(
    "distance, columns, is_near",
    [
        (9.0, {}, True),  # 27 Å of 0.25 · 120 Å
        (11.0, {}, False),
        (11.0, {"rlnMicrographPixelSize": 1.0}, True),
        (11.0, {"rlnMicrographPixelSize": 3.0}, False),
        (11.0, {"rlnOriginXAngst": [0.0, 9.0] + [0.0] * 10}, True),
        (9.0, {"rlnMicrographName": ["n.mrc"] + ["m.mrc"] * 11}, False),
    ],
)
def test_particles_picked_twice_are_in_one_half(tmp_path, distance, columns, is_near, caplog):
    x = 100 + 500.0 * np.arange(12)
    x[1] = x[0] + distance
    columns = {"rlnOriginXAngst": 0.0, "rlnOriginYAngst": 0.0, **columns}
    particles = changed_file(tmp_path, lambda table: picked(x)(table).assign(**columns))
    with caplog.at_level("INFO"):
        halves = np.array([split_halves(particles, seed, 120.0) for seed in range(20)])
    # Apart they are in one half for all of 20 seeds with a chance of 2^-20.
    assert (halves[:, 0] == halves[:, 1]).all() == is_near
    assert ("2 images show a particle that another image shows" in caplog.text) == is_near
    assert (np.count_nonzero(halves, axis=1) == 6).all()


def test_parted_relatives_are_told(tmp_path, caplog):
    x = 100 + 500.0 * np.arange(14)
    x[[12, 13]] = x[[3, 3]]
    x[1] = x[0] + 1

    def parted(table):
        table = table.iloc[[*range(12), 3, 3]]
        return picked(x)(table).assign(rlnRandomSubset=[1, 2] * 7)

    particles = changed_file(tmp_path, parted)
    np.testing.assert_array_equal(split_halves(particles, 1, 60.0), particles.random_subset - 1)
    assert "3 rows show an image of the other half-set, 2 more a particle of it" in caplog.text


def test_coordinates_that_are_no_numbers_are_left(tmp_path, caplog):
    particles = changed_file(tmp_path, lambda table: picked("None")(table))
    assert np.count_nonzero(split_halves(particles, 1)) == 6
    assert "particles that were picked twice are not looked for" in caplog.text
