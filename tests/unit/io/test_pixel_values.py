"""Pixels of files become float32 to the last bit: every float16, and float32 in the other order. Their statistics."""

import errno
import os

import numpy as np
import pytest

from pycryo.io._pixels import read_float16, read_turned_float32, send_to_disc, sums_of
from pycryo.io.mrc_header import statistics_of


@pytest.fixture
def descriptor(tmp_path):
    """Descriptor of an empty file."""
    found = os.open(tmp_path / "pixels", os.O_RDWR | os.O_CREAT)
    yield found
    os.close(found)


def swapped(values, is_turned):
    return (values.byteswap() if is_turned else values).tobytes()


@pytest.mark.parametrize("is_turned", [0, 1])
def test_every_float16(descriptor, is_turned):
    """Eight at a time, and, in runs of seven, one by one."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    is_nan = np.isnan(halves)
    expected = halves.astype(np.float32)
    os.pwrite(descriptor, b"four" + swapped(halves, is_turned), 4)
    found = np.full(len(halves), -1, np.float32)
    assert read_float16(descriptor, 8, is_turned, found) == len(halves)
    np.testing.assert_array_equal(found[~is_nan].view(np.uint32), expected[~is_nan].view(np.uint32))
    np.testing.assert_array_equal(np.isnan(found), is_nan)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(halves))
    singles = np.concatenate([halves[:4096], halves[::37], halves[0x7BF0:0x7C10], halves[0xFBF0:0xFC10]])
    for first in range(0, len(singles) - 7, 7):
        os.pwrite(descriptor, swapped(singles[first : first + 7], is_turned), 0)
        read_float16(descriptor, 0, is_turned, found[:7])
        np.testing.assert_array_equal(found[:7], singles[first : first + 7].astype(np.float32))


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 100_003])
def test_turned_float32(descriptor, n, rng):
    bits = rng.integers(0, 1 << 32, n, np.uint32)
    os.pwrite(descriptor, swapped(bits, True), 0)
    found = np.empty(n, np.float32)
    assert read_turned_float32(descriptor, 0, found) == n
    np.testing.assert_array_equal(found.view(np.uint32), bits)


def test_a_file_that_ends_or_cannot_be_read(descriptor):
    os.pwrite(descriptor, swapped(np.arange(5, dtype=np.float16), False) + b"x", 0)
    found = np.full(9, -1, np.float32)
    assert read_float16(descriptor, 0, 0, found) == 5
    np.testing.assert_array_equal(found[:6], [0, 1, 2, 3, 4, -1])
    assert read_turned_float32(descriptor, 100, found) == 0
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as error:
        read_float16(-1, 0, 0, found)
    assert error.value.errno == errno.EBADF


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 1003])
def test_sums(n, rng):
    values = rng.normal(3, 1, n).astype(np.float32)
    exact = values.astype(float)
    expected = [exact.min(), exact.max(), exact.sum(), np.square(exact).sum()]
    np.testing.assert_allclose(sums_of(values), expected, rtol=1e-14 * n)
    np.testing.assert_array_equal(sums_of(values[:0]), [np.inf, -np.inf, 0, 0])


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f2", "f8"])
def test_statistics_do_not_depend_on_the_kind_of_numbers(dtype, rng):
    image = rng.integers(-9, 9, (6, 7)).astype(np.float32)
    expected = [[image.min(), image.max(), image.sum(), np.square(image).sum()]]
    np.testing.assert_array_equal(statistics_of(image.astype(dtype)), expected)
    np.testing.assert_array_equal(statistics_of(image.astype(dtype).T), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_statistics_of_what_is_not_finite(value):
    image = np.ones((3, 5), np.float32)
    image[1, 2] = value
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(statistics_of(image), statistics_of(image.astype(float)))


def test_zeros_have_no_sign():
    assert not np.signbit(statistics_of(np.full((4, 4), -0.0, np.float32))).any()


def test_what_cannot_be_sent_to_a_disc_is_no_error():
    reader, writer = os.pipe()
    assert send_to_disc(writer, 0, 1) == 0
    os.close(reader)
    os.close(writer)
