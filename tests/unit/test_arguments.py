"""Arrays of every kind are converted, or refused with the argument, what is expected and what came."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import pycryo
from pycryo.arguments import (
    cube,
    instance,
    matrices,
    number,
    numbers,
    result,
    rotations,
    split,
    transform,
    whole_number,
)
from pycryo.errors import InputError
from pycryo.kernels.defocus_scores import defocus_scores
from pycryo.kernels.projector import fourier_volume, project_slices
from pycryo.kernels.shells import image_shells
from pycryo.kernels.shift import shift
from pycryo.maps.density import Map


@pytest.mark.parametrize(
    "value",
    [[1, 2, 3], (1.0, 2.0, 3.0), np.arange(1, 4), np.arange(1, 4, dtype=np.uint8), np.arange(1, 4, dtype=np.float16)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_numbers_of_any_type(value, dtype):
    found = numbers("x", value, dtype, (None,))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [1, 2, 3])


def test_the_same_array_is_not_copied():
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert numbers("x", given, np.float32) is given
    turned = numbers("x", given.T, np.float32)
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, given.T)


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        ("abc", np.float32, "x: expected an array of numbers, got str 'abc'"),
        ([[1], [2, 3]], np.float32, "x: expected an array of numbers, got list"),
        (None, np.float32, "x: expected an array of numbers, got NoneType None"),
        ([1j], np.float64, "x: expected an array of numbers, got list"),
        ([1.5], np.int32, "x: expected whole numbers of int32, got float64 with others"),
        ([np.nan], np.int32, "x: expected whole numbers of int32"),
        ([2**40], np.int32, "x: expected whole numbers of int32, got int64 with others"),
        ([1e300], np.float32, "x: expected numbers that float32 can hold, got larger ones"),
    ],
)
def test_what_cannot_be_converted(value, dtype, words):
    with pytest.raises(InputError, match=words):
        numbers("x", value, dtype)


def test_shapes_and_finite_numbers():
    with pytest.raises(InputError, match=r"x: expected shape \(any, 2\), got \(3,\)"):
        numbers("x", [1, 2, 3], np.float64, (None, 2))
    with pytest.raises(InputError, match=r"x: expected shape \(2,\), got \(3,\)"):
        numbers("x", [1, 2, 3], np.float64, (2,))
    with pytest.raises(InputError, match="x: expected finite numbers only, got NaN or infinity"):
        numbers("x", [1, np.inf], np.float64, finite=True)


def test_complex_samples_are_taken_apart():
    given = np.array([[1 + 2j, 3 + 4j, 5 + 6j]])
    np.testing.assert_array_equal(split("a", given), [[[1, 3, 5], [2, 4, 6]]])
    np.testing.assert_array_equal(split("a", [[[1, 3], [2, 4]]]), [[[1, 3], [2, 4]]])
    with pytest.raises(InputError, match=r"a: expected shape \(..., 2, n\)"):
        split("a", np.zeros((1, 3, 5)))


def test_rotations_of_any_kind():
    turns = Rotation.random(4, random_state=1)
    np.testing.assert_array_equal(rotations("rotations", turns), turns.as_matrix())
    np.testing.assert_allclose(
        rotations("rotations", turns.as_matrix().astype(np.float32)), turns.as_matrix(), atol=1e-7
    )
    assert rotations("rotations", np.eye(3).tolist()).shape == (1, 3, 3)
    assert rotations("rotations", np.empty((0, 3, 3))).shape == (0, 3, 3)
    bad = turns.as_matrix()
    for harm in (np.nan, 2.0, -1.0):
        bad[2] = harm * np.eye(3)
        with pytest.raises(InputError, match="rotations: expected rotations, got a matrix that is none at 2"):
            rotations("rotations", bad)
    with pytest.raises(InputError, match=r"rotations: expected rotation matrices .* of shape \(4, 4\)"):
        rotations("rotations", turns.as_quat())


def test_cubes():
    assert cube("map", np.zeros((2, 2, 2), np.int16)).dtype == np.float32
    assert cube("map", np.zeros((2, 2, 2))).dtype == np.float64
    assert cube("map", Map(np.ones((2, 2, 2), np.float32), 1.0)).dtype == np.float32
    for bad, words in (
        (np.zeros((2, 2, 3)), r"map: expected a cube \(N, N, N\), got shape \(2, 2, 3\)"),
        (np.zeros((0, 0, 0)), "map: expected a cube"),
        (np.full((2, 2, 2), np.nan), "map: expected finite numbers only"),
        (np.zeros((2, 2, 2), complex), "map: expected an array of numbers, got an array of complex128"),
    ):
        with pytest.raises(InputError, match=words):
            cube("map", bad)


def test_one_number():
    assert number("x", np.float32(2)) == 2
    for bad, words in (
        (-1, "x: expected a number of at least 0, got -1"),
        (np.nan, "got nan"),
        ([1, 2], r"expected a number, got list \[1, 2\]"),
    ):
        with pytest.raises(InputError, match=words):
            number("x", bad, least=0)
    with pytest.raises(InputError, match="x: expected a number from 0 to 1, got 2"):
        number("x", 2, least=0, most=1)


def test_results_are_written_where_the_user_says():
    given = np.empty((2, 3), np.float32)
    assert result("out", given, (2, 3), np.float32) is given
    assert result("out", None, (2, 3), np.float32).shape == (2, 3)
    for bad, words in (
        (np.empty((2, 3)), "out: expected a C-contiguous, writeable array of float32, got an array of float64"),
        (np.empty((3, 2), np.float32).T, "out: expected a C-contiguous"),
        (np.empty((3, 2), np.float32), r"out: expected shape \(2, 3\), got \(3, 2\)"),
        ([[0.0]], "out: expected a C-contiguous"),
    ):
        with pytest.raises(InputError, match=words):
            result("out", bad, (2, 3), np.float32)


def test_a_projection_from_anything():
    density = np.random.default_rng(3).normal(size=(8, 8, 8)).astype(np.float32)
    turns = Rotation.random(2, random_state=2)
    expected = pycryo.project(density, turns.as_matrix())
    for given, poses in (
        (Map(density, 2.0), turns),
        (density.tolist(), turns.as_matrix().tolist()),  # Python's numbers: in double precision
        (density.astype(">f4"), turns),
    ):
        np.testing.assert_allclose(pycryo.project(given, poses), expected, atol=1e-5)
    whole = np.rint(100 * density)
    np.testing.assert_array_equal(
        pycryo.project(whole.astype(np.int64), turns), pycryo.project(whole.astype(np.float32), turns)
    )
    with pytest.raises(InputError, match="rotations: expected rotations"):
        pycryo.project(density, np.full((1, 3, 3), np.nan))
    with pytest.raises(InputError, match="shifts: expected finite"):
        pycryo.project(density, turns, shifts=[[0, np.nan], [0, 0]])


def test_kernels_take_numbers_of_any_type():
    volume = fourier_volume(np.random.default_rng(4).normal(size=(8, 8, 8)))
    kx, ky = [0, 1, 2], [1, -1, 0]
    slices = project_slices(volume, [np.eye(3)], kx, ky)
    np.testing.assert_array_equal(slices, project_slices(volume, np.eye(3)[None], np.int32(kx), np.int32(ky)))
    moved = shift(slices[:, 0] + 1j * slices[:, 1], kx, ky, [[[1, 2]]], 8)
    np.testing.assert_array_equal(moved, shift(slices, kx, ky, np.array([[[1.0, 2.0]]]), 8))
    power = image_shells(slices.astype(np.float64), slices, [0, 1, 1], 2)
    np.testing.assert_allclose(power[0, :, 1], [np.square(slices[0, :, 0]).sum(), np.square(slices[0, :, 1:]).sum()])
    assert defocus_scores(np.ones((1, 1, 2, 4), np.float32), [[0, 1]], [0], [1], 3).shape == (1, 1, 3)
    values = pycryo.ctf(
        kx,
        ky,
        frequency_step=1e-2,
        defocus_u=[10000, 12000],
        defocus_v=10000,
        defocus_angle=0,
        voltage=300,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
    )
    assert values.shape == (2, 3)
    with pytest.raises(InputError, match="voltage: expected an array of numbers, got str '300 kV'"):
        pycryo.ctf(
            kx,
            ky,
            frequency_step=1e-2,
            defocus_u=1,
            defocus_v=1,
            defocus_angle=0,
            voltage="300 kV",
            spherical_aberration=2.7,
            amplitude_contrast=0.1,
        )
    with pytest.raises(InputError, match="shell: element 1 is 7, expected 0 to 1"):
        image_shells(slices, slices, [0, 7, 1], 2)


def test_whole_numbers_and_objects():
    assert whole_number("n", np.int64(3), 1) == 3
    for bad, words in (
        (0, "n: expected at least 1, got 0"),
        (2.5, "n: expected a whole number, got 2.5"),
        ("3", "n: expected a whole number, got str '3'"),
    ):
        with pytest.raises(InputError, match=words):
            whole_number("n", bad, 1)
    instance("map", Map(np.ones((2, 2, 2)), 1.0), (Map, str), "from read_map")
    with pytest.raises(InputError, match=r"map: expected Map or str \(from read_map\), got int 3"):
        instance("map", 3, (Map, str), "from read_map")


def test_matrices_and_transforms():
    turns = Rotation.random(2, random_state=1)
    np.testing.assert_array_equal(matrices("m", turns, (None,)), turns.as_matrix())
    np.testing.assert_array_equal(matrices("m", 2 * np.ones((1, 2, 3, 3)), (1, 2)), 2)
    with pytest.raises(InputError, match=r"m: expected shape \(2, 3, 3\), got \(1, 3, 3\)"):
        matrices("m", np.ones((1, 3, 3)), (2,))
    half = np.ones((4, 4, 3), np.complex64)
    assert transform("t", half) is half
    assert transform("t", half.real.tolist()).dtype == np.complex128
    for bad, words in ((half[:, :, :2], r"t: expected shape \(N, N, N//2 \+ 1\)"), ("a", "t: expected an array of")):
        with pytest.raises(InputError, match=words):
            transform("t", bad)
