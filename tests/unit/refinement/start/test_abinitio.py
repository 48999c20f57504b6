"""An initial map from no reference: its images, the size of the particle, batches, options, the command."""

import argparse
import dataclasses
import json
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
from phantom import write_set
from scene import lump, scene

from pycryo import read_particles
from pycryo.cli.commands import abinitio as command
from pycryo.cli.main import main
from pycryo.cli.option_arguments import options_from
from pycryo.errors import InputError
from pycryo.io.star import read_tables
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.image_statistics import ImageStatistics
from pycryo.refinement.data.left_out import LeftOut
from pycryo.refinement.data.mend import Mends
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.start import contest
from pycryo.refinement.start.abinitio import abinitio
from pycryo.refinement.start.abinitio_options import AbinitioOptions
from pycryo.refinement.start.contest import Leg, batch_size_of, describe, r_high_of
from pycryo.refinement.start.particle_size import edge_of, estimate_diameter, rings
from pycryo.refinement.start.small_images import read_small, shrink_images, small_boxes
from pycryo.refinement.start.stochastic import draw_batch


@pytest.fixture
def few_rounds(monkeypatch):
    monkeypatch.setattr(contest, "_LEGS", (2, 1))
    monkeypatch.setattr(contest, "_SHAPING", 1)
    monkeypatch.setattr(contest, "_FINAL", 1)


def waves(box, numbers=((1, 2, 0.3), (-3, 1, 1.0), (4, 0, 2.0))):
    """Image of a sum of plane waves, periods per box and phase of each, about the centre pixel."""
    line = (np.arange(box) - box // 2) / box
    y, x = np.meshgrid(line, line, indexing="ij")
    return sum(np.cos(2 * np.pi * (kx * x + ky * y) + phase) for kx, ky, phase in numbers).astype(np.float32)


@pytest.mark.parametrize("box, small", [(40, 12), (40, 40), (25, 10), (31, 12)])
def test_small_images_sample_the_same_function(box, small):
    images = np.stack([waves(box), waves(box, ((2, 2, 0.1),))])
    found = shrink_images(images, small)
    expected = np.stack([waves(small), waves(small, ((2, 2, 0.1),))])
    # The mean outside the circle, which is subtracted, is not that of the small one; else single precision.
    difference = found - expected
    np.testing.assert_allclose(difference - difference.mean(axis=(1, 2), keepdims=True), 0, atol=2e-5)


def test_small_images_lose_what_is_too_fine():
    fine = waves(40, ((9, 0, 0.0), (0, 6, 1.0)))  # beyond and at the Nyquist frequency of 12 px
    assert shrink_images(fine[None], 12).std() < 2e-5  # single precision; what is left is the background's mean
    assert shrink_images(np.zeros((0, 16, 16), np.float32), 8).shape == (0, 8, 8)


def test_small_boxes_are_even_and_never_larger():
    optics = SimpleNamespace(box=np.array([128, 25, 300, 64]), pixel_size=np.array([2.0, 2.0, 1.0, 10.0]))
    found = small_boxes(SimpleNamespace(optics=optics), 5.0)
    # 51.2 -> 52 -> 54 = 2·3³; 10; 60; no coarser pixels wanted than there are.
    assert found.tolist() == [54, 10, 60, 64]


def test_read_small_leaves_out_bad_images(tmp_path):
    particles = read_particles(write_set(tmp_path, lump(), 9, geometries=((20, 5.0), (24, 4.5)), noise=0.1))
    with mrcfile.mmap(tmp_path / "g1.mrcs", "r+") as file:
        file.data[0] = 3.0
        file.data[1, 2, 3] = np.nan
    rows = np.arange(1, 9)
    partition, left_out, mends = read_small(SerialComm(), particles, rows, 8.0)
    wrong = [row for row in range(9) if particles.stack[row] == particles.stack[0] and particles.image_index[row] < 2]
    assert left_out.rows.tolist() == [row for row in wrong if row in rows]
    assert mends == Mends()
    assert partition.rows.tolist() == [row for row in rows if row not in wrong]
    assert partition.half[0] == -1
    optics = partition.particles.optics
    np.testing.assert_allclose(
        optics.box * optics.pixel_size, particles.optics.box * particles.optics.pixel_size, rtol=1e-12
    )
    for row in partition.rows.tolist():
        assert partition.cache[row].shape == (optics.box[particles.optics_group[row]],) * 2
    partition.free()


@pytest.mark.parametrize("edge", [0.3, 0.5, 0.6])
def test_edge_of_a_profile(edge):
    radius = (np.arange(24) + 0.5) / 24
    profile = 1.0 + np.where(radius < edge, 5.0, 0.0)
    # A ring is 1/24 wide; tips that few views show are allowed for.
    assert edge_of(profile) / 1.35 == pytest.approx(edge, abs=1.1 / 24)


def test_profiles_without_an_edge():
    assert edge_of(np.ones(24)) == 0.65
    assert edge_of(np.linspace(2, 1, 24)) == 0.9  # the particle fills the box


def test_rings():
    found = rings(6).reshape(6, 6)
    assert found[3, 3] == 0
    assert found[0, 0] == 24  # a corner
    assert found[3, 0] == 24  # one edge pixel is half the box away, the opposite one is not
    assert found[3, 5] == 16


def test_diameter_of_a_phantom(tmp_path):
    """Blobs of 4 Å within 30 Å of the centre: 60 Å and their width."""
    particles, _, _ = scene(tmp_path, lump(), 60, snr=0.3)
    partition, _, _ = read_small(SerialComm(), particles, np.arange(60), 5.0)
    # A spherical body has no tips: the estimate allows for them.
    assert 50 < estimate_diameter(partition) < 95
    partition.free()


def batch_setup(n=50, seed=2):
    group = (np.arange(n) % 5 == 0).astype(np.int32)
    half = np.zeros(n, np.int8)
    half[3] = -1
    rows = np.flatnonzero(half == 0)
    partition = _Share(half, rows, SimpleNamespace(optics_group=group))
    count = np.bincount(group[rows], minlength=3)
    norm, unknown = np.ones(len(half)), np.zeros((3, 2, 2))
    look = ImageStatistics(np.outer(count, [4.0, 2.0]), count, np.ones((3, 2)), LeftOut(), norm, unknown)
    return _Setup(partition, look, RefineOptions(seed=seed))


@dataclasses.dataclass
class _Share:
    half: np.ndarray
    rows: np.ndarray
    particles: SimpleNamespace


@dataclasses.dataclass
class _Setup:
    partition: _Share
    statistics: ImageStatistics
    options: RefineOptions


def test_batches():
    whole = batch_setup()
    first, again, other = (draw_batch(whole, 21, number) for number in (5, 5, 6))
    np.testing.assert_array_equal(first.partition.half, again.partition.half)
    assert (first.partition.half != other.partition.half).any()
    assert [np.count_nonzero(first.partition.half == half) for half in (0, 1)] == [11, 10]
    assert first.partition.half[3] == -1
    np.testing.assert_array_equal(first.partition.rows, np.flatnonzero(first.partition.half >= 0))
    # Σ|X|² of so many images; the third group has none at all.
    assert first.statistics.count.sum() == 21
    assert first.statistics.count[2] == 0
    np.testing.assert_allclose(first.statistics.power, np.outer(first.statistics.count, [4.0, 2.0]))
    everyone = draw_batch(whole, 1000, 1)
    assert len(everyone.partition.rows) == 49
    np.testing.assert_allclose(everyone.statistics.power, whole.statistics.power)


def test_batches_do_not_depend_on_who_asks():
    whole = batch_setup()
    part = dataclasses.replace(whole, partition=dataclasses.replace(whole.partition, rows=whole.partition.rows[10:20]))
    mine, all_of_it = draw_batch(part, 30, 4).partition, draw_batch(whole, 30, 4).partition
    np.testing.assert_array_equal(mine.half, all_of_it.half)
    np.testing.assert_array_equal(mine.rows, np.intersect1d(part.partition.rows, all_of_it.rows))


def test_schedule_of_a_try():
    last = sum(contest._LEGS) - 1
    limits = [r_high_of(k, 8.0, 20.0) for k in range(last + 1)]
    assert limits[: contest._SHAPING] == [8.0] * contest._SHAPING
    assert limits[-1] == 20.0
    assert (np.diff(limits) >= 0).all()
    sizes = [batch_size_of(k, 50, 400) for k in range(last + 1)]
    assert (sizes[0], sizes[-1]) == (50, 400)
    assert (np.diff(sizes) > 0).all()


def test_line_of_a_leg():
    line = describe(Leg(30.04, 10, {0: 10.681, 2: 7.0}, [2, 0]))
    assert line == "after 10 rounds, to 30.0 Å: log evidence per image try 1 10.68, try 3 7.00; kept: 3, 1"


@pytest.mark.parametrize(
    "given, diameter, expected",
    [
        ({}, 100.0, (40.0, 15.0)),
        ({}, 700.0, (140.0, 50.0)),
        ({"last_resolution": 10.0}, 700.0, (140.0, 10.0)),
        ({"first_resolution": 12.0}, 100.0, (12.0, 12.0)),
        ({"last_resolution": 60.0}, 100.0, (60.0, 60.0)),
    ],
)
def test_resolutions(given, diameter, expected):
    assert AbinitioOptions(**given).resolutions(diameter) == expected


@pytest.mark.parametrize(
    "given, text",
    [
        ({"tries": 0}, "tries"),
        ({"max_images": 1}, "max-images"),
        ({"first_batch": 1}, "first-batch"),
        ({"first_batch": 20, "last_batch": 10}, "last-batch"),
        ({"first_resolution": -1.0}, "first-resolution"),
        ({"first_resolution": 10.0, "last_resolution": 20.0}, "finer"),
        ({"symmetry": "X3"}, "X3"),
        ({"diameter": 0.0}, "diameter"),
        ({"seed": -1}, "seed"),
    ],
)
def test_values_out_of_range(given, text):
    with pytest.raises(InputError, match=text):
        AbinitioOptions(**given)


def test_options_for_the_rounds():
    options = AbinitioOptions(symmetry="D2", seed=4, padding=3, memory=2.0, invert_contrast=True)
    found = options.refine_options()
    assert (found.symmetry, found.seed, found.padding, found.memory, found.invert_contrast) == ("D2", 4, 3, 2.0, True)


def parse(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["p.star", "--out", "d", *words])


def test_every_option_has_an_argument():
    assert options_from(parse(), AbinitioOptions) == AbinitioOptions()
    words = "--sym D2 --particle_diameter 150 --first-resolution 50 --last-resolution 20 --tries 3 --max-images 100"
    expected = AbinitioOptions(
        symmetry="D2", diameter=150.0, first_resolution=50.0, last_resolution=20.0, tries=3, max_images=100
    )
    assert options_from(parse(*words.split()), AbinitioOptions) == expected
    assert options_from(parse("--no-ctf", "--j", "2"), AbinitioOptions) == AbinitioOptions(ctf=False, threads=2)


def test_command(tmp_path, few_rounds, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    particles, _, _ = scene(tmp_path, lump(), 20, snr=0.8, geometries=((20, 5.0),))
    out = tmp_path / "out"
    words = ["abinitio", str(particles.path), "--out", str(out), "--tries", "2", "--max-images", "18", "--threads", "1"]
    words += ["--first-batch", "6", "--last-batch", "10"]
    assert main(words) == 0
    names = {"RELION_JOB_EXIT_SUCCESS", "initial_model.mrc", "run.json", "run.log", "run_data.star"}
    assert {path.name for path in out.iterdir()} == names
    with mrcfile.open(out / "initial_model.mrc") as file:
        assert file.data.shape == (20, 20, 20)
        assert float(file.voxel_size.x) == pytest.approx(5.0)
    content = json.loads((out / "run.json").read_text("utf-8"))
    assert (content["particles"]["total"], content["particles"]["used"]) == (20, 18)
    assert [leg["rounds"] for leg in content["legs"]] == [2, 3]
    assert len(content["legs"][-1]["kept"]) == 1
    table = dict(read_tables(out / "run_data.star"))["particles"]
    assert table.n == 18
    # The halves of the file are kept: those of the rounds mean nothing.
    given = dict(read_tables(particles.path))["particles"].values(["rlnRandomSubset"], ["rlnImageName"])
    kept = table.values(["rlnRandomSubset"], ["rlnImageName"])
    names = [str(name).split("/")[-1] for name in given["rlnImageName"]]
    places = [names.index(str(name).split("/")[-1]) for name in kept["rlnImageName"]]
    np.testing.assert_array_equal(kept["rlnRandomSubset"], np.asarray(given["rlnRandomSubset"])[places])
    assert "go on with: pycryo refine" in (out / "run.log").read_text("utf-8")
    assert "try 2" in capsys.readouterr().err


def test_command_leaves_nothing_after_wrong_input(tmp_path, capsys):
    particles, _, _ = scene(tmp_path, lump(), 4, snr=0.8, geometries=((20, 5.0),))
    out = tmp_path / "new" / "out"
    assert main(["abinitio", str(particles.path), "--out", str(out), "--diameter", "500"]) == 2
    assert "larger than the images" in capsys.readouterr().err
    assert not out.parent.exists()
    assert main(["abinitio", str(tmp_path / "none.star"), "--out", str(out)]) == 2


def test_two_images_are_enough_and_one_is_not(tmp_path, few_rounds):
    particles, _, _ = scene(tmp_path, lump(), 2, snr=0.8, geometries=((20, 5.0),))
    found = abinitio(particles, AbinitioOptions(tries=1, threads=1))
    assert np.isfinite(found.map.data).all()
    with pytest.raises(InputError, match="too few"):
        abinitio(particles.subset(np.array([0])), AbinitioOptions(tries=1, threads=1))


def test_threads_change_no_bit(tmp_path, few_rounds):
    particles, _, _ = scene(tmp_path, lump(), 21, snr=0.8, geometries=((20, 5.0),))
    one, two = (
        abinitio(particles, AbinitioOptions(tries=2, first_batch=6, last_batch=10, threads=threads))
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one.map.data, two.map.data)
    assert one.legs == two.legs
