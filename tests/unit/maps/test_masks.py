"""Automatic masks on a made molecule with noise, and the checks of a user's mask."""

import logging

import mrcfile
import numpy as np
import pytest
from scene import lump
from scipy import ndimage
from thread_comm import run_ranks

from pycryo.errors import InputError
from pycryo.maps.density import Map, low_pass, resample, soft_sphere
from pycryo.maps.masks import auto_mask, envelope_threshold, fitted_mask, is_inside_out
from pycryo.maps.slab_map import SlabMap, from_map, gather


@pytest.fixture(scope="module")
def molecule() -> Map:
    """Two touching balls of radius 14 and 10 Å in a box of 96 Å."""
    x = np.arange(48) - 24
    z, y, x = np.meshgrid(x, x, x, indexing="ij")
    inside = (np.hypot(np.hypot(x + 5, y), z) < 7) | (np.hypot(np.hypot(x - 6, y - 2), z) < 5)
    return Map(inside.astype(np.float32), 2.0)


def overlap(a, b):
    return 2 * np.minimum(a, b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 1.0])
def test_encloses_the_molecule_at_any_noise(molecule, noise, rng):
    noisy = Map(molecule.data + np.float32(noise) * rng.standard_normal(molecule.data.shape, dtype=np.float32), 2.0)
    mask = auto_mask(noisy)
    clean = auto_mask(molecule)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() == 1
    assert (mask * molecule.data).sum() > 0.99 * molecule.data.sum()
    # Seen from one clean surface to another: a shell 1 px thick is about a fifth of the mask's volume.
    assert overlap(mask, clean) > 0.9
    assert clean.sum() < 0.2 * clean.size


def test_small_parts_are_noise_and_large_ones_kept(molecule):
    with_specks = molecule.data.copy()
    with_specks[2:5, 2:5, 2:5] = 1.0
    np.testing.assert_array_equal(auto_mask(Map(with_specks, 2.0))[:8, :8, :8], 0)
    with_specks[2:12, 2:10, 2:10] = 1.0
    assert auto_mask(Map(with_specks, 2.0))[6, 6, 6] == 1


def test_cavity_is_filled():
    x = np.arange(40) - 20
    radius = np.sqrt(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2)
    shell = Map(((radius < 15) & (radius > 9)).astype(np.float32), 4.0)
    assert auto_mask(shell)[20, 20, 20] == 1


def test_threshold_extension_and_edge(molecule):
    tight = auto_mask(molecule, threshold=0.5, extend_px=0, edge_px=0)
    assert set(np.unique(tight)) == {0, 1}
    wide = auto_mask(molecule, threshold=0.5, extend_px=3, edge_px=4)
    profile = wide[24, 24, :20]  # from outside into the large ball
    first_core, first_any = np.argmax(profile == 1), np.argmax(profile > 0)
    assert np.argmax(tight[24, 24]) - first_core == 3
    assert first_core - first_any == 3  # 4 px edge: 3 voxels strictly between 0 and 1
    with pytest.raises(InputError, match="above the threshold 5"):
        auto_mask(molecule, threshold=5.0)


def test_pure_noise_gives_a_sphere_and_a_warning(rng, caplog):
    noise = Map(rng.standard_normal((48, 48, 48)).astype(np.float32), 2.0)
    with caplog.at_level(logging.WARNING):
        mask = auto_mask(noise)
    assert "sphere" in caplog.text
    assert mask.sum() > 0.3 * mask.size
    np.testing.assert_array_equal(auto_mask(Map(np.zeros((48, 48, 48), np.float32), 2.0)), mask)


def test_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite"):
        auto_mask(Map(np.full((8, 8, 8), np.nan, np.float32), 1.0))


# --- planes on ranks --------------------------------------------------------------------------------------------------

RANKS = [1, 2, 3, 7, 50]


def mask_of_whole_map(source, threshold, extend, edge):
    """The same steps on one array, by scipy.ndimage alone."""
    filtered = low_pass(source, 15.0).data
    label, _ = ndimage.label(filtered > threshold)
    volume = np.bincount(label.ravel())
    volume[0] = 0
    kept = ndimage.binary_fill_holes((volume >= 0.1 * volume.max())[label])
    distance = ndimage.distance_transform_edt(~kept) - extend
    return (0.5 * (1 + np.cos(np.pi * np.clip(distance / edge, 0, 1)))).astype(np.float32)


def on_ranks(size, source, **options):
    def work(comm):
        mine = from_map(comm, source)
        return gather(SlabMap(comm, auto_mask(mine, comm=comm, **options), source.pixel_size))

    return run_ranks(size, work)[0].data


@pytest.fixture(scope="module")
def cluttered() -> Map:
    """A hollow ball, a snake through many planes that comes back to where it began, and specks; with noise."""
    x = np.arange(48) - 24
    z, y, x = np.meshgrid(x, x, x, indexing="ij")
    radius = np.hypot(np.hypot(z + 4, y - 3), x)
    ball = (radius < 12) & (radius > 8)
    snake = (np.hypot(y + 14, x - 14) < 3.5) & (np.abs(z) < 20)
    snake |= (np.hypot(y + 14, x + 4) < 3.5) & (np.abs(z) < 20)
    snake |= (np.hypot(y + 14, z - 18) < 3.5) & (np.abs(x - 5) < 10)
    specks = (np.hypot(np.hypot(z - 20, y - 18), x - 19) < 3) | (np.hypot(np.hypot(z + 22, y - 20), x + 20) < 3)
    noise = np.random.default_rng(4).standard_normal(z.shape, dtype=np.float32)
    return Map((ball | snake | specks).astype(np.float32) + np.float32(0.3) * noise, 4.0)


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("threshold, extend, edge", [(0.4, 2.0, 3.0), (0.3, 0.0, 9.5), (0.55, 1.5, 20.0)])
def test_planes_equal_the_whole_map(size, cluttered, threshold, extend, edge):
    expected = mask_of_whole_map(cluttered, threshold, extend, edge)
    options = {"threshold": threshold, "extend_px": extend, "edge_px": edge}
    np.testing.assert_array_equal(on_ranks(size, cluttered, **options), expected)
    assert expected[20, 27, 24] == 1  # the hollow of the ball


@pytest.mark.parametrize("size", RANKS[:-1])
def test_threshold_is_the_quantiles_of_the_whole_map(size, cluttered):
    filtered = low_pass(cluttered, 15.0).data
    inside = soft_sphere(48, 24, 0) > 0
    background, strong = np.quantile(filtered[inside], (0.5, 0.999))
    noise = filtered[~inside].astype(np.float64).std()

    def work(comm):
        numbers = from_map(comm, cluttered).numbers
        return envelope_threshold(filtered[numbers.start : numbers.stop], comm)

    levels = run_ranks(size, work)
    assert set(levels) == {envelope_threshold(filtered)}
    # Sums of squares in another order.
    assert levels[0] == pytest.approx(background + max(0.15 * (strong - background), 2.5 * noise), rel=1e-12)
    np.testing.assert_array_equal(on_ranks(size, cluttered), auto_mask(cluttered))


@pytest.mark.parametrize("size", [2, 7])
def test_sphere_and_errors_on_ranks(size, caplog, rng):
    noise = Map(rng.standard_normal((48, 48, 48)).astype(np.float32), 2.0)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(on_ranks(size, noise), auto_mask(noise))
    assert len(caplog.records) == 2  # one of the ranks, one alone
    with pytest.raises(InputError, match="above the threshold 5: its maximum is"):
        on_ranks(size, noise, threshold=5.0)
    bad = noise.data.copy()
    bad[47, 0, 0] = np.inf

    def work(comm):
        with pytest.raises(InputError, match="not finite"):
            auto_mask(from_map(comm, Map(bad, 2.0)), comm=comm)

    run_ranks(size, work)


@pytest.mark.parametrize("box", [1, 2, 5])
def test_smallest_boxes(box):
    data = np.zeros((box,) * 3, np.float32)
    data[box // 2, box // 2, box // 2] = 1
    for size in (1, 3):
        np.testing.assert_array_equal(on_ranks(size, Map(data, 2.0)), auto_mask(Map(data, 2.0)))


def test_fitted_mask(molecule):
    good = auto_mask(molecule)
    np.testing.assert_array_equal(fitted_mask(Map(good, 2.0), 48, 2.0), good)
    for factor in (1.0005, 1.001, 1.015):
        assert fitted_mask(Map(good * np.float32(factor), 2.0), 48, 2.0).max() == 1
    for bad in (good * np.float32(1.1), good - np.float32(0.1), np.full_like(good, np.nan)):
        with pytest.raises(InputError, match="between 0 and 1"):
            fitted_mask(Map(bad, 2.0), 48, 2.0)
    with pytest.raises(InputError, match="0 everywhere"):
        fitted_mask(Map(np.zeros_like(good), 2.0), 48, 2.0)
    corner = np.zeros_like(good)
    corner[:4, :4, :4] = 1
    with pytest.raises(InputError, match=r"m\.mrc: nothing of the mask is within the maps' box of 20 px"):
        fitted_mask(Map(corner, 2.0), 20, 2.0, "m.mrc")


def test_masks_inside_out(molecule):
    good = auto_mask(molecule)
    assert is_inside_out(1 - good)
    for right in (good, np.ones_like(good), soft_sphere(48, 40, 2), soft_sphere(48, 24, 0)):
        assert not is_inside_out(right)


@pytest.mark.parametrize("box, pixel_size", [(48, 2.001), (48, 2.01), (96, 1.0), (50, 1.7)])
def test_a_mask_of_another_grid_is_checked_as_stored_and_clipped(molecule, box, pixel_size):
    """A sharp mask swings beyond 0 and 1 where it is interpolated: no fault of the mask."""
    sharp = (auto_mask(molecule) > 0.5).astype(np.float32)
    swung = resample(Map(sharp, 2.0), box, pixel_size).data
    assert swung.min() < -1e-3
    assert swung.max() > 1 + 1e-3
    np.testing.assert_array_equal(fitted_mask(Map(sharp, 2.0), box, pixel_size), np.clip(swung, 0, 1))


def simulated_protein(shared):
    """Map, a mask around it, their pixel size and how much they overlap with masks of ours."""
    folder = shared / "data" / "sim64"
    truth, reference = (mrcfile.read(folder / name) for name in ("map.mrc", "mask.mrc"))
    # The reference mask stops 4 + 9 Å outside, ours 5 + 10 Å: about 0.9 for two such envelopes of one molecule.
    return truth, reference, 2.2, 0.85


def union_of_balls():
    """The same for a body whose distance from any point is known: balls of 9 Å on the centres of a lump."""
    pixel = 2.5
    places = np.stack(np.meshgrid(*[pixel * (np.arange(48) - 24)] * 3, indexing="ij"), axis=-1)[..., ::-1]
    away = np.min([np.linalg.norm(places - centre, axis=-1) - 9 for centre in lump().centres], axis=0)
    truth = np.clip(0.5 - away / pixel, 0, 1).astype(np.float32)
    reference = 0.5 * (1 + np.cos(np.pi * np.clip((away - 5) / 10, 0, 1)))
    # An edge without anything finer than 15 Å, 1/2 - Si(2πx/15)/π, falls to 15 % x = 2.8 Å outside; half a voxel more
    # makes 4 Å. Around a mask of 37 Å radius that is 36 % of its volume, so that the overlap is 2 / 2.36.
    return truth, reference, pixel, 0.85


@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("source", ["own", pytest.param("maintainers", marks=pytest.mark.maintainers)])
def test_simulated_protein(source, noise, rng, request):
    own = source == "own"
    truth, reference, pixel, enough = union_of_balls() if own else simulated_protein(request.getfixturevalue("shared"))
    halves = [
        truth + np.float32(noise * truth.std()) * rng.standard_normal(truth.shape, dtype=np.float32) for _ in "12"
    ]
    mask = auto_mask(Map((halves[0] + halves[1]) / 2, pixel))
    strong = truth > 0.2 * truth.max()
    assert (mask * truth)[strong].sum() > 0.999 * truth[strong].sum()
    assert overlap(mask, reference) > enough
