"""`pycryo.refinement.reconstruct` against a phantom whose map and projections are known exactly."""

import logging
import re
import shutil

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from phantom import blobs, write_set

from pycryo.errors import InputError
from pycryo.io.particles import read_particles
from pycryo.maps.fsc import fsc
from pycryo.model import symmetrise as symmetrise_module
from pycryo.refinement.reconstruct import reconstruct
from pycryo.threads import set_threads

# The slices are inserted by trilinear interpolation at padding 2, which is good to a few percent of the amplitude
# (Penczek et al. 1992): the FSC loses about half the square of that.
ENOUGH = 0.995
SHELLS = slice(1, 15)  # 0.9 of Nyquist of a box of 32 px


def scale_to(found, truth):
    """Least-squares grey scale of `found` on `truth`."""
    return float((found * truth).sum() / (truth * truth).sum())


@pytest.mark.parametrize("with_ctf", [False, True])
def test_map_of_exact_projections(tmp_path, with_ctf):
    phantom = blobs()
    particles = read_particles(write_set(tmp_path, phantom, 400, with_ctf=with_ctf))
    result = reconstruct(particles, ctf=with_ctf)
    truth = phantom.volume(32, 3.0)
    assert (result.n, result.half_maps, result.fsc) == (400, None, None)
    assert (result.map.box, result.map.pixel_size) == (32, 3.0)
    assert fsc(result.map.data, truth)[SHELLS].min() > ENOUGH
    # T + mean(T)/60 damps the voxels with little T more than the rest, by less than 1/60.
    assert scale_to(result.map.data, truth) == pytest.approx(1, abs=0.02)


def test_ctf_matters(tmp_path):
    phantom = blobs()
    particles = read_particles(write_set(tmp_path, phantom, 200))
    assert fsc(reconstruct(particles, ctf=False).map.data, phantom.volume(32, 3.0))[SHELLS].min() < 0.5


def test_symmetry_mates(tmp_path):
    """40 images and their mates tell as much as 120; without the mates they do not."""
    phantom = blobs(order=3)
    particles = read_particles(write_set(tmp_path, phantom, 40, with_ctf=False))
    truth = phantom.volume(32, 3.0)
    symmetric = reconstruct(particles, symmetry="C3", ctf=False).map.data
    assert fsc(symmetric, truth)[1:11].min() > 0.99
    assert fsc(symmetric, truth)[SHELLS].mean() > fsc(reconstruct(particles, ctf=False).map.data, truth)[SHELLS].mean()
    # A wrong group does not fit.
    assert fsc(reconstruct(particles, symmetry="D3", ctf=False).map.data, truth)[1:11].min() < 0.9


def test_images_of_another_box_and_pixel_size(tmp_path):
    phantom = blobs()
    particles = read_particles(write_set(tmp_path, phantom, 400, geometries=((32, 3.0), (40, 2.6)), with_ctf=False))
    truth = phantom.volume(32, 3.0)
    for rows in (slice(None), slice(200, None)):
        chosen = particles.subset(np.arange(400)[rows])
        result = reconstruct(chosen, ctf=False)
        if rows == slice(None):
            assert (result.map.box, result.map.pixel_size) == (32, 3.0)
            assert fsc(result.map.data, truth)[SHELLS].min() > ENOUGH
            assert scale_to(result.map.data, truth) == pytest.approx(1, abs=0.02)
        else:
            assert (result.map.box, result.map.pixel_size) == (40, 2.6)
            assert fsc(result.map.data, phantom.volume(40, 2.6))[SHELLS].min() > ENOUGH


def test_half_maps_are_those_of_the_subsets(tmp_path):
    phantom = blobs()
    particles = read_particles(write_set(tmp_path, phantom, 200, noise=1.0))
    both = reconstruct(particles, half_maps=True)
    for number, half in enumerate(both.half_maps, 1):
        alone = reconstruct(particles.subset(particles.random_subset == number)).map.data
        # The noise level, measured on all images or on half, scales F and T alike; float32 rounds the images anew.
        np.testing.assert_allclose(half.data, alone, atol=1e-4 * np.abs(alone).max())
    assert both.fsc.unmasked[1:6].min() > 0.9
    whole = reconstruct(particles)
    np.testing.assert_allclose(both.map.data, whole.map.data, atol=1e-5 * np.abs(whole.map.data).max())
    assert both.n == whole.n == 200


@pytest.mark.parametrize("copies", [1, 2])
def test_half_maps_of_noise_do_not_agree_however_often_it_is_listed(tmp_path, copies, caplog):
    """Each of 60 images of noise once and twice: copies in both halves would agree to 0.5 in each shell."""
    path = write_set(tmp_path, blobs(), 60, noise=1e4)
    tables = starfile.read(path)
    rows = tables["particles"].drop(columns="rlnRandomSubset")
    starfile.write({**tables, "particles": pd.concat([rows] * copies)}, path, overwrite=True)
    result = reconstruct(read_particles(path), half_maps=True, ctf=False)
    # Shells of 100 voxels and more: the mean of ten of them scatters by less than 0.05.
    assert abs(np.mean(result.fsc.unmasked[5:15])) < 0.15
    assert result.n == 60 * copies
    assert ("60 rows repeat one" in caplog.text) == (copies > 1)


@pytest.mark.parametrize("half_maps", [True, False])
def test_copies_of_a_stack_are_known_by_their_pixels(tmp_path, half_maps, caplog):
    """As above, but the copies are in a stack of another name."""
    path = write_set(tmp_path, blobs(), 60, noise=1e4)
    tables = starfile.read(path)
    rows = tables["particles"].drop(columns="rlnRandomSubset")
    shutil.copytree(tmp_path, tmp_path / "copy")
    other = rows.assign(rlnImageName=rows["rlnImageName"].str.replace("@", "@copy/"))
    starfile.write({**tables, "particles": pd.concat([rows, other])}, path, overwrite=True)
    result = reconstruct(read_particles(path), half_maps=half_maps, ctf=False)
    assert caplog.text.count("120 rows show 60 images: 60 rows repeat one") == 1
    if half_maps:
        assert abs(np.mean(result.fsc.unmasked[5:15])) < 0.15


def test_resolution_limit(tmp_path):
    phantom = blobs()
    particles = read_particles(write_set(tmp_path, phantom, 200, with_ctf=False))
    result = reconstruct(particles, ctf=False, max_resolution=12.0)  # shell 8 of 96 Å
    assert result.map.box == 32
    # The last shell, 7, has neighbours on one side only.
    assert fsc(result.map.data, phantom.volume(32, 3.0))[1:7].min() > ENOUGH
    power = np.abs(np.fft.fftn(result.map.data)) ** 2
    k = np.fft.fftfreq(32, 1 / 32)
    beyond = k[:, None, None] ** 2 + k[:, None] ** 2 + k**2 > 10**2
    # Cropping the padded map spreads its sharp limit: measured 4e-4.
    assert power[beyond].sum() < 1e-3 * power.sum()


def test_threads_and_order_do_not_change_a_bit(tmp_path, rng):
    particles = read_particles(write_set(tmp_path, blobs(), 60, noise=1.0))
    maps = []
    try:
        for threads, order in ((1, np.arange(60)), (3, np.arange(60)), (2, rng.permutation(60))):
            set_threads(threads)
            maps.append(reconstruct(particles.subset(order)).map.data)
    finally:
        set_threads(None)
    for other in maps[1:]:
        np.testing.assert_array_equal(other, maps[0])


def test_one_particle(tmp_path):
    particles = read_particles(write_set(tmp_path, blobs(), 3))
    assert np.isfinite(reconstruct(particles.subset([1])).map.data).all()


def test_progress_ends_with_all_images(tmp_path):
    particles = read_particles(write_set(tmp_path, blobs(), 20))
    seen = []
    reconstruct(particles, half_maps=True, progress=lambda fraction, name: seen.append((fraction, name)))
    assert seen[0] == (0, "measuring images")
    assert seen[-1] == (1, "inserting images")


def test_unusable_particles_are_left_out(tmp_path, caplog):
    path = write_set(tmp_path, blobs(), 40)
    tables = starfile.read(path)
    tables["particles"].loc[[3, 5], ["rlnDefocusU", "rlnDefocusV"]] = 0.0
    starfile.write(tables, path, overwrite=True)
    with mrcfile.open(tmp_path / "g1.mrcs", "r+") as file:
        file.data[7] = np.nan
        file.data[8] = 1.0
    caplog.set_level(logging.WARNING)
    result = reconstruct(read_particles(path), max_bad_fraction=0.1)
    assert result.n == 36
    assert re.search(r"left out 2 particles with a defocus of 0 or none: 4@\S*g1.mrcs, 6@\S*g1.mrcs", caplog.text)
    assert "left out 2 images: 1 with constant pixels, 1 with NaN or infinite pixels" in caplog.text
    clean = reconstruct(read_particles(path).subset(np.delete(np.arange(40), [3, 5, 7, 8])))
    np.testing.assert_array_equal(result.map.data, clean.map.data)
    with pytest.raises(InputError, match="2 of 40 images cannot be used"):
        reconstruct(read_particles(path), max_bad_fraction=0.01)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"symmetry": "X"}, "symmetry 'X' is unknown"),
        ({"padding": 0}, "padding is 0"),
        ({"max_resolution": 0.0}, "the highest resolution is 0.0 Å"),
        ({"max_resolution": 60.0}, "below 48 Å"),
        ({"background_radius": -1.0}, "the background radius is -1.0 Å"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    particles = read_particles(write_set(tmp_path, blobs(), 4))
    with pytest.raises(InputError, match=message):
        reconstruct(particles, **options)


def test_missing_columns(tmp_path):
    path = write_set(tmp_path, blobs(), 4)
    tables = starfile.read(path)
    for column, message in (("rlnDefocusU", "which the CTF needs"), ("rlnAngleTilt", "needs particles with poses")):
        tables["particles"] = tables["particles"].drop(columns=column)
        starfile.write(tables, path, overwrite=True)
        with pytest.raises(InputError, match=message):
            reconstruct(read_particles(path))


def test_empty_half(tmp_path):
    path = write_set(tmp_path, blobs(), 4)
    particles = read_particles(path)
    with pytest.raises(InputError, match="each needs at least one"):
        reconstruct(particles.subset([0]), half_maps=True)


@pytest.mark.parametrize("symmetry", ["C4", "D2", "D6"])
@pytest.mark.parametrize("half_maps", [False, True])
def test_sums_over_rotations_of_the_grid(tmp_path, monkeypatch, symmetry, half_maps):
    """The map is that of all mates inserted, up to roundings to the quantum."""
    particles = read_particles(write_set(tmp_path, blobs(), 40, noise=1.0))
    maps = []
    for seconds in (0.0, 1.0):
        monkeypatch.setattr(symmetrise_module, "_SAMPLE", seconds)
        found = reconstruct(particles, symmetry=symmetry, half_maps=half_maps)
        maps.append([found.map, *(found.half_maps or ())])
    for inserted, summed in zip(*maps, strict=True):
        np.testing.assert_allclose(summed.data, inserted.data, rtol=0, atol=1e-6 * np.abs(inserted.data).max())
