"""Kernel `projector` against its float64 twin, and projections against sums along an axis."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo import _core
from pycryo.errors import InputError
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import FourierVolume, fourier_volume, project, project_slices
from pycryo.kernels.reference.projector import fourier_volume as volume_twin
from pycryo.kernels.reference.projector import project_slices as slices_twin


def random_volume(rng, r_high, padding=2):
    """Unit normals; Hermitian in the plane x = 0, as a transform is."""
    radius = int(np.ceil(padding * r_high)) + 1
    data = rng.standard_normal((2 * radius + 1, 2 * radius + 1, radius + 1, 2)).astype(np.float32)
    data[:, :, 0] += data[::-1, ::-1, 0] * [1, -1]
    return FourierVolume(data, 64, padding, r_high)


def as_complex(volume):
    return volume.data[..., 0].astype(float) + 1j * volume.data[..., 1]


def random_rotations(rng, n):
    return Rotation.from_quat(rng.standard_normal((n, 4))).as_matrix() if n else np.empty((0, 3, 3))


@pytest.mark.parametrize("box, padding, r_high", [(8, 2, None), (9, 2, None), (12, 1, None), (9, 1, 4.5), (10, 3, 2.2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fourier_volume_equals_twin(box, padding, r_high, dtype, rng):
    density = rng.standard_normal((box, box, box)).astype(dtype)
    volume = fourier_volume(density, padding=padding, r_high=r_high)
    expected = volume_twin(density.astype(float), padding, r_high or box / 2)
    assert volume.data.shape == (*expected.shape, 2)
    assert volume.r_high == (r_high or box / 2)
    # Norm of the input √(box³) ≤ 42, sinc⁻⁶ ≤ (π/2)⁶ = 15 at padding 1; ~ 30 float32 roundings in a row.
    np.testing.assert_allclose(as_complex(volume), expected, atol=42 * 15 * 30**0.5 * 6e-8)


@pytest.mark.parametrize("n_slice", [0, 1, 3])
@pytest.mark.parametrize("n_pixel", [0, 1, 3, 4, 8, 15, 16, 17, 255, 256, 257, 600])
def test_slices_equal_twin(n_slice, n_pixel, rng):
    volume = random_volume(rng, 16)
    kx = rng.integers(0, 20, n_pixel).astype(np.int32)
    ky = rng.integers(-20, 20, n_pixel).astype(np.int32)
    rotations = random_rotations(rng, n_slice)
    result = project_slices(volume, rotations, kx, ky)
    expected = slices_twin(as_complex(volume), rotations, kx, ky, 2.0)
    # |q| ≤ 33 in float32: q is off by 33·3·6e-8 in each of three axes, differences between voxels reach 10;
    # ten further roundings of sums of size 10.
    np.testing.assert_allclose(result, expected, atol=3 * 33 * 3 * 6e-8 * 10 + 10 * 10 * 6e-8)


def test_scale_and_padding_set_the_step(rng):
    pixels = half_plane(32, 10)
    volume = random_volume(rng, 16, padding=1)
    rotations = random_rotations(rng, 2)
    result = project_slices(volume, rotations, pixels.kx, pixels.ky, scale=1.25)
    expected = slices_twin(as_complex(volume), rotations, pixels.kx, pixels.ky, 1.25)
    np.testing.assert_allclose(result, expected, atol=3 * 33 * 3 * 6e-8 * 10 + 10 * 10 * 6e-8)  # as above


@pytest.mark.parametrize("curvature", [1e-3, -0.02, 0.3])
def test_curved_slices_equal_twin(curvature, rng):
    pixels = half_plane(32, 14)
    volume = random_volume(rng, 16)
    rotations = random_rotations(rng, 3)
    rotations[1] *= 1.02  # of a magnified image
    bent = np.array([curvature, curvature, 0.0])
    result = project_slices(volume, rotations, pixels.kx, pixels.ky, curvature=bent)
    expected = slices_twin(as_complex(volume), rotations, pixels.kx, pixels.ky, 2.0, bent)
    outermost = np.abs(expected).max(axis=1) == 0  # which samples end at the sphere is a matter of rounding
    different = outermost != (np.abs(result).max(axis=1) == 0)
    assert different.mean() < 1e-3
    result[np.broadcast_to(different[:, None], result.shape)] = 0
    expected[np.broadcast_to(different[:, None], expected.shape)] = 0
    np.testing.assert_allclose(result, expected, atol=6 * 33 * 3 * 6e-8 * 10 + 10 * 10 * 6e-8)
    np.testing.assert_array_equal(result[2], project_slices(volume, rotations[2:], pixels.kx, pixels.ky)[0])
    with pytest.raises(ValueError, match="curvature: expected shape"):
        project_slices(volume, rotations, pixels.kx, pixels.ky, curvature=bent[:2])
    with pytest.raises(ValueError, match="curvature: expected finite numbers only"):
        project_slices(volume, rotations, pixels.kx, pixels.ky, curvature=bent * np.nan)


def test_axis_aligned_slices_stay_inside(rng):
    """Every sample with |k| < r_high has its neighbours, in all 24 orientations along the axes."""
    rotations = Rotation.create_group("O").as_matrix()
    for r_high in (1.0, 7.5, 8.0):
        pixels = half_plane(32, r_high)
        volume = random_volume(rng, r_high)
        result = project_slices(volume, rotations, pixels.kx, pixels.ky)
        expected = slices_twin(as_complex(volume), rotations, pixels.kx, pixels.ky, 2.0)
        # Samples on voxels (matrix elements are off by 1e-16): ten roundings of sums of size 10.
        np.testing.assert_allclose(result, expected, atol=10 * 10 * 6e-8)
        assert np.all(np.any(result != 0, axis=1))


def test_samples_beyond_the_volume_are_zero(rng):
    volume = random_volume(rng, 4)
    far = np.array([6, 1000, 2**23], np.int32)
    rotations = np.concatenate([random_rotations(rng, 3), np.full((1, 3, 3), 1e30)])
    result = project_slices(volume, rotations, far, far)
    np.testing.assert_array_equal(result, 0)


def test_threads_and_neighbours_change_no_bit(rng):
    pixels = half_plane(32, 15)
    volume = random_volume(rng, 15)
    rotations = random_rotations(rng, 5)
    one, three = (project_slices(volume, rotations, pixels.kx, pixels.ky, threads=n) for n in (1, 3))
    alone = project_slices(volume, rotations[3:4], pixels.kx, pixels.ky, threads=2)
    np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(one[3], alone[0])


@pytest.mark.parametrize("box", [15, 16])
def test_projection_along_z_is_the_sum(box, rng):
    """Smooth density without frequencies at the rim: the projection of the unrotated map is its sum along z."""
    x = np.arange(box) - box // 2
    blob = lambda c, s: np.exp(-((x - c) ** 2) / (2 * s * s))  # noqa: E731
    density = np.einsum("z,y,x->zyx", blob(1, 1.6), blob(-2, 1.4), blob(1.5, 1.5))
    result = project(density, np.eye(3)[None])
    # Samples fall on voxels, so that only the division by sinc² is seen: a blob of width s at distance c is weighted by
    # at most 1/sinc⁶; here it is compared with the sum of the corrected density. Rim: exp(-2π²s²/4) = 6e-5 of the peak.
    correction = 1 / np.sinc(x / (2 * box)) ** 2
    expected = np.einsum("zyx,z,y,x->yx", density, correction, correction, correction)
    np.testing.assert_allclose(result[0], expected, atol=4 * 6e-5 * expected.max())


def test_rotation_moves_a_point_as_relion_does(rng):
    """A blob at X appears at the first two components of A X, minus the shift."""
    box, at = 32, np.array([5.0, -3.0, 4.0])
    x = np.arange(box) - box // 2
    blob = lambda c: np.exp(-((x - c) ** 2) / (2 * 1.5**2))  # noqa: E731
    density = np.einsum("z,y,x->zyx", blob(at[2]), blob(at[1]), blob(at[0])).astype(np.float32)
    rotations = random_rotations(rng, 4)
    shifts = rng.uniform(-3, 3, (4, 2))
    images = project(density, rotations, shifts=shifts)
    centre = (rotations @ at)[:, :2] - shifts
    expected = np.stack([1.5 * (2 * np.pi) ** 0.5 * np.outer(blob(c[1]), blob(c[0])) for c in centre])
    # A voxel at distance c from the centre leaves ghosts of relative height (c/2N)² = (9/64)² = 0.02 at other places;
    # a shift by 0.1 px would change the flanks by 0.1·0.6/1.5 = 0.04 of the peak, a wrong sign by all of it.
    np.testing.assert_allclose(images, expected, atol=0.02 * expected.max())


def test_batches_change_no_bit(rng, monkeypatch):
    density = rng.standard_normal((12, 12, 12)).astype(np.float32)
    rotations = random_rotations(rng, 5)
    whole = project(density, rotations, shifts=np.ones((5, 2)))
    monkeypatch.setattr("pycryo.kernels.projector._BATCH_BYTES", 2 * 24 * 144)
    np.testing.assert_array_equal(project(density, rotations, shifts=np.ones((5, 2))), whole)
    assert project(density, rotations[:0]).shape == (0, 12, 12)


def test_errors_name_what_is_wrong():
    cube = np.zeros((8, 8, 8), np.float32)
    with pytest.raises(InputError, match=r"map: expected a cube \(N, N, N\), got shape \(8, 8, 7\)"):
        fourier_volume(cube[:, :, :7])
    with pytest.raises(InputError, match=r"r_high: .* at most box/2 = 4 Fourier px, got 5"):
        fourier_volume(cube, r_high=5)
    with pytest.raises(InputError, match="padding: expected at least 1, got 0"):
        fourier_volume(cube, padding=0)
    with pytest.raises(InputError, match=r"shifts: expected shape \(1, 2\), got \(2, 2\)"):
        project(cube, np.eye(3)[None], shifts=np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"rotations: expected rotation matrices \(n, 3, 3\) .* of shape \(3,\)"):
        project(cube, np.zeros(3))
    index = np.zeros(3, np.int32)
    with pytest.raises(ValueError, match=r"volume: expected shape \(7, 7, 4, 2\), got \(7, 6, 4, 2\)"):
        _core.project_slices(
            np.zeros((7, 6, 4, 2), np.float32),
            np.eye(3)[None],
            np.empty(0),
            index,
            index,
            1.0,
            np.zeros((1, 2, 3), np.float32),
            1,
        )
    with pytest.raises(ValueError, match="third extent of at least 2"):
        _core.project_slices(
            np.zeros((1, 1, 1, 2), np.float32),
            np.eye(3)[None],
            np.empty(0),
            index,
            index,
            1.0,
            np.zeros((1, 2, 3), np.float32),
            1,
        )
