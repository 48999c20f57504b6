"""Local resolution: the same on any ranks and threads, inside the mask, refused where it cannot be."""

import numpy as np
import pytest
from halves_of_two import beam, gentle_ends, sharp_ends
from thread_comm import run_ranks

from pycryo.errors import InputError
from pycryo.maps.density import soft_sphere
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.rows import even_bounds
from pycryo.postprocessing.local_filter import locally_filtered
from pycryo.postprocessing.local_resolution import LocalOptions, local_resolution

BOX, PIXEL = 40, 3.0
OPTIONS = LocalOptions(window=27.0)


@pytest.fixture(scope="module")
def halves():
    return sharp_ends(BOX, PIXEL, (8.0, 12.0), 10)


@pytest.fixture(scope="module")
def mask():
    return soft_sphere(BOX, 13, 3)


def parts(comm, *maps):
    bounds = even_bounds(BOX, comm.size)
    return [each[bounds[comm.rank] : bounds[comm.rank + 1]] for each in maps]


@pytest.mark.parametrize("size", [2, 3, 7])
def test_ranks_and_threads_change_no_bit(halves, mask, size):
    def work(comm, threads):
        first, second, inside = parts(comm, *halves, mask)
        found = local_resolution(first, second, PIXEL, inside, OPTIONS, comm=comm, threads=threads)
        filtered = locally_filtered(first, second, found.resolution, found.window, -60.0, comm=comm, threads=threads)
        return found, filtered.data

    alone, filtered = work(SerialComm(), 1)
    results = run_ranks(size, lambda comm: work(comm, 2))
    np.testing.assert_array_equal(np.concatenate([each.resolution.data for each, _ in results]), alone.resolution.data)
    np.testing.assert_array_equal(np.concatenate([each for _, each in results]), filtered)
    for each, _ in results:
        np.testing.assert_array_equal(each.quantiles, alone.quantiles)
        np.testing.assert_array_equal(each.counts, alone.counts)
        assert each.n_window == alone.n_window


def test_figures_are_of_the_mask(halves, mask):
    found = local_resolution(*halves, PIXEL, mask, OPTIONS)
    inside = found.resolution.data[mask > 0.5]
    assert found.counts.sum() == len(inside)
    np.testing.assert_allclose(found.quantiles, np.quantile(inside, [0.05, 0.25, 0.5, 0.75, 0.95]))
    np.testing.assert_array_equal(found.counts[1:-1], np.histogram(inside, found.edges)[0][1:-1])
    assert found.finest == 2 * PIXEL
    assert found.step == pytest.approx(6.0)  # a quarter of the window, in whole px


def test_without_a_mask_the_density_is_looked_at():
    rng = np.random.default_rng(2)
    mask = soft_sphere(BOX, 5, 2)
    signal = 3 * mask * (1 + 0.3 * rng.standard_normal(mask.shape))
    halves = [np.float32(signal + 0.2 * rng.standard_normal(mask.shape)) for _ in range(2)]
    found = local_resolution(*halves, PIXEL, options=OPTIONS)
    assert 0.5 < (found.mask > 0.5).sum() / (mask > 0.5).sum() < 8
    assert found.n_window < 729


def test_noise_alone_has_the_resolution_of_the_window():
    rng = np.random.default_rng(4)
    halves = rng.standard_normal((2, BOX, BOX, BOX), dtype=np.float32)
    found = local_resolution(*halves, PIXEL, np.ones((BOX,) * 3, np.float32), OPTIONS)
    assert found.quantiles[2] > 20


def test_the_same_map_twice_is_resolved_as_far_as_it_is_sampled(halves, mask):
    found = local_resolution(halves[0], halves[0], PIXEL, mask, OPTIONS)
    np.testing.assert_allclose(found.quantiles, 2 * PIXEL, rtol=1e-6)


def test_windows_widen_where_little_is_resolved():
    """By default only; the whole has the resolution of the right part."""
    halves = gentle_ends(80, 2.0, (30.0, 5.0), 300)
    fixed = local_resolution(*halves, 2.0, beam(80), LocalOptions(window=25.0, step=16.0))
    assert fixed.n_doubled == 0
    found = local_resolution(*halves, 2.0, beam(80), LocalOptions(step=16.0))
    assert found.window < 40
    assert 0 < found.n_doubled < found.n_window / 2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"window": 5.0}, "at least 4 px"),
        ({"window": 70.0}, "at most half the box"),
        ({"window": -1.0}, "--window must be a positive"),
        ({"step": 0.0}, "--step must be a positive"),
        ({"threshold": 1.0}, "--threshold must be between 0 and 1"),
        ({"seed": -1}, "--seed must be 0 or more"),
    ],
)
def test_refused(halves, mask, options, message):
    with pytest.raises(InputError, match=message):
        local_resolution(*halves, PIXEL, mask, LocalOptions(**options))


def test_an_empty_mask_is_refused(halves):
    with pytest.raises(InputError, match=r"nowhere above 0\.5"):
        local_resolution(*halves, PIXEL, np.full_like(halves[0], 0.4), OPTIONS)


def test_filter_of_one_resolution_is_a_low_pass(halves):
    """And a B-factor, against NumPy."""
    flat = SlabMap(SerialComm(), np.full((BOX,) * 3, 12.0, np.float32), PIXEL)
    found = locally_filtered(*halves, flat, 30.0, -100.0, comm=SerialComm()).data
    line = np.square(np.fft.fftfreq(BOX, 1 / BOX))
    shell = np.rint(np.sqrt(line[:, None, None] + line[:, None] + line))
    middle = BOX * PIXEL / 12
    gain = 0.5 * (1 + np.cos(np.pi * np.clip((shell - middle) / 2 + 0.5, 0, 1)))
    gain *= np.exp(100 / 4 * (shell / (BOX * PIXEL)) ** 2)
    mean = (halves[0].astype(float) + halves[1]) / 2
    expected = np.fft.ifftn(np.fft.fftn(mean) * gain).real
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(mean).max() * np.sqrt(BOX))


def test_filter_blends_where_the_resolution_changes(halves):
    """Far left and right it is that of one resolution."""
    comm = SerialComm()
    limits = np.where(np.arange(BOX) < BOX // 2, 8.0, 20.0)
    steps = SlabMap(comm, np.broadcast_to(limits, (BOX,) * 3).astype(np.float32), PIXEL)
    found = locally_filtered(*halves, steps, 30.0, comm=comm).data
    for value, part in ((8.0, np.s_[: BOX // 2]), (20.0, np.s_[BOX // 2 :])):
        flat = SlabMap(comm, np.full((BOX,) * 3, value, np.float32), PIXEL)
        alone = locally_filtered(*halves, flat, 30.0, comm=comm).data
        np.testing.assert_allclose(found[:, :, part], alone[:, :, part], atol=1e-5)


def test_a_box_of_few_pixels_has_a_window_of_four():
    rng = np.random.default_rng(0)
    half1, half2 = rng.standard_normal((2, 8, 8, 8), dtype=np.float32)
    assert local_resolution(half1, half2, 16.0, soft_sphere(8, 3, 1)).window == 64.0
