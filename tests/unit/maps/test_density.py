"""Resampling, low-pass filter and soft sphere against analytic maps."""

import numpy as np
import pytest

from pycryo.errors import InputError
from pycryo.maps.density import Map, low_pass, resample, soft_sphere


def gaussian(
    box: int, pixel_size: float, sd: float = 6.0, centre: tuple[float, float, float] = (3.0, -5.0, 2.0)
) -> Map:
    """A Gaussian of `sd` Å about `centre` (x, y, z) Å from the origin voxel."""
    at = (np.arange(box) - box // 2) * pixel_size
    x, y, z = (np.exp(-((at - c) ** 2) / (2 * sd**2)) for c in centre)
    return Map((z[:, None, None] * y[None, :, None] * x).astype(np.float32), pixel_size)


@pytest.mark.parametrize("old", [(32, 2.5), (33, 2.5), (40, 2.0)])
@pytest.mark.parametrize(
    "new", [(32, 2.5), (31, 2.5), (48, 1.7), (47, 1.7), (24, 3.1234), (25, 3.1234), (21, 3.5), (9, 2.2)]
)
def test_resample_evaluates_the_same_density(old, new):
    result = resample(gaussian(*old), *new)
    assert result.box == new[0]
    assert result.pixel_size == new[1]
    assert result.data.dtype == np.float32
    at = np.abs(np.arange(new[0]) - new[0] // 2) * new[1]
    inside = at <= (old[0] // 2 - 1) * old[1]
    inside = inside[:, None, None] & inside[None, :, None] & inside
    # At 3.5 Å the Gaussian's transform is exp(-½(2π·6/7)²) = 5e-7 at Nyquist, at the box's edge (40-5 Å) it is 4e-8;
    # float32 rounds at 6e-8. Each is hit by up to a few dozen terms.
    np.testing.assert_allclose(result.data[inside], gaussian(*new).data[inside], atol=1e-5)


@pytest.mark.parametrize("box, new", [(8, 8), (8, 5), (8, 13), (7, 4), (7, 12), (1, 4), (6, 1)])
def test_same_pixel_size_only_crops_or_pads(box, new, rng):
    source = Map(rng.standard_normal((box,) * 3).astype(np.float32), 1.1)
    result = resample(source, new, 1.1 * (1 + 1e-4)).data
    assert result[(new // 2,) * 3] == source.data[(box // 2,) * 3]
    both = min(box, new)
    a, b = (slice(n // 2 - both // 2, n // 2 - both // 2 + both) for n in (box, new))
    np.testing.assert_array_equal(result[b, b, b], source.data[a, a, a])
    assert np.count_nonzero(result) == both**3


def test_resample_does_not_alias():
    box, pixel_size = 48, 1.0
    x = np.arange(box) - box // 2
    # 18 periods in 48 Å: 2.67 Å, beyond the Nyquist of 1.5 Å (3 Å) and at an alias of 0.2917 1/Å there.
    wave = np.broadcast_to(np.cos(2 * np.pi * 18 / box * x), (box,) * 3).astype(np.float32)
    assert np.abs(resample(Map(wave, pixel_size), 24, 1.5).data).max() < 1e-6  # 48 terms of float32 rounding 6e-8 / √48


def test_resample_there_and_back_keeps_low_frequencies():
    source = gaussian(32, 2.0, sd=4.0, centre=(0.0, 0.0, 0.0))
    there = resample(source, 40, 1.6)
    # Nyquist terms: exp(-½(2π·4/4)²) = 3e-9; float32 rounding of values up to 1, twice.
    np.testing.assert_allclose(
        resample(there, 32, 2.0).data[2:-2, 2:-2, 2:-2], source.data[2:-2, 2:-2, 2:-2], atol=1e-5
    )


def test_outside_the_old_field_of_view_is_zero():
    result = resample(Map(np.ones((8, 8, 8), np.float32), 2.0), 24, 1.5).data
    at = (np.arange(24) - 12) * 1.5
    inside = (at >= -8) & (at <= 6)
    assert np.count_nonzero(result) == inside.sum() ** 3
    np.testing.assert_allclose(result[np.ix_(inside, inside, inside)], 1, atol=1e-6)


@pytest.mark.parametrize("box", [24, 25])
def test_low_pass_keeps_low_and_removes_high_waves(box):
    x = np.arange(box) - box // 2
    waves = [np.cos(2 * np.pi * k / box * x) for k in (0, 4, 7, 10)]
    source = Map(np.broadcast_to(sum(waves), (box,) * 3).astype(np.float32), 1.5)
    result = low_pass(source, box * 1.5 / 7, edge_px=4.0)
    expected = waves[0] + waves[1] + 0.5 * waves[2]  # edge from 5 to 9, half-way at 7
    # Values up to 4 through two float32 FFTs: ~ 4 · log2(24³) · 6e-8.
    np.testing.assert_allclose(result.data, np.broadcast_to(expected, (box,) * 3), atol=5e-6)


@pytest.mark.parametrize("box, resolution, edge", [(16, 4.0, 3.0), (17, 4.0, 3.0), (16, 1.0, 2.0), (9, 500.0, 2.0)])
def test_low_pass_is_a_factor_of_the_transform(box, resolution, edge, rng):
    source = Map(rng.standard_normal((box,) * 3, dtype=np.float32), 1.5)
    k = np.fft.fftfreq(box, 1 / box)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    fall = np.clip((radius - box * 1.5 / resolution + edge / 2) / edge, 0, 1)
    expected = np.fft.ifftn(np.fft.fftn(source.data.astype(float)) * 0.5 * (1 + np.cos(np.pi * fall))).real
    # Single-precision transforms of numbers of order 1, there and back: about 1e-7 · √log(size), times 5.
    np.testing.assert_allclose(low_pass(source, resolution, edge_px=edge).data, expected, atol=2e-6)


@pytest.mark.parametrize("box, new", [(30, 44), (44, 30), (54, 42), (110, 126)])
def test_rounded_ratio_of_pixel_sizes_changes_nothing(box, new, rng):
    """The same field of view in other voxels: 1.37 · 30/44 is no float, nor is the frequency where the grids part."""
    source = Map(rng.standard_normal((box,) * 3, dtype=np.float32), 1.0)
    expected = resample(source, new, box / new).data
    for pixel_size in (1.37, 2.2):
        found = resample(Map(source.data, pixel_size), new, pixel_size * box / new).data
        # Rounding of float32 results of order 1.
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("box", [16, 17])
def test_soft_sphere(box):
    sphere = soft_sphere(box, 4.0, 2.0)
    centre = box // 2
    assert sphere[centre, centre, centre + 4] == 1
    assert sphere[centre, centre + 5, centre] == pytest.approx(0.5)
    assert sphere[centre - 6, centre, centre] == 0
    assert soft_sphere(box, 4.0, 0.0)[centre, centre, centre + 4] == 1
    np.testing.assert_array_equal(soft_sphere(box, 4.0, 2.0, range(3, 9)), sphere[3:9])


@pytest.mark.parametrize(
    "shape, pixel_size", [((4, 4, 5), 1.0), ((4, 4), 1.0), ((0, 0, 0), 1.0), ((4, 4, 4), 0.0), ((4, 4, 4), np.nan)]
)
def test_map_refuses_what_is_no_map(shape, pixel_size):
    with pytest.raises(InputError):
        Map(np.zeros(shape, np.float32), pixel_size)


def test_errors():
    source = Map(np.zeros((4, 4, 4), np.float32), 1.0)
    with pytest.raises(InputError, match="box: expected at least 1, got 0"):
        resample(source, 0, 1.0)
    with pytest.raises(InputError, match="pixel_size"):
        resample(source, 4, -1.0)
    with pytest.raises(InputError, match="resolution"):
        low_pass(source, 0.0)
