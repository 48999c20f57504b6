"""Transforms without scipy.fft's import are scipy.fft's, to the last bit."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.fft

from pycryo import fourier


@pytest.fixture(params=["compiled", "scipy.fft"])
def way(request, monkeypatch):
    if request.param == "scipy.fft":
        monkeypatch.setattr(fourier, "_compiled", None)
    else:
        assert fourier._compiled is not None
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [None, 9, 12, 20])
@pytest.mark.usefixtures("way")
def test_one_axis(dtype, n, rng):
    real = rng.standard_normal((5, 12, 3)).astype(dtype)
    lines = (real + 1j * rng.standard_normal(real.shape)).astype(np.result_type(dtype, np.complex64))
    np.testing.assert_array_equal(fourier.rfft(real, n, axis=1), scipy.fft.rfft(real, n, axis=1))
    np.testing.assert_array_equal(fourier.fft(lines, n, axis=1, workers=2), scipy.fft.fft(lines, n, axis=1))
    if n is not None:
        np.testing.assert_array_equal(fourier.irfft(lines, n, axis=1), scipy.fft.irfft(lines, n, axis=1))
        raw = scipy.fft.irfft(lines, n, axis=1, norm="forward")
        np.testing.assert_array_equal(fourier.irfft(lines, n, axis=1, scaled=False), raw)
        out = np.empty_like(raw)
        assert fourier.irfft(lines, n, axis=1, scaled=False, out=out) is out
        np.testing.assert_array_equal(out, raw)


@pytest.mark.usefixtures("way")
def test_in_place(rng):
    lines = (rng.standard_normal((4, 16)) + 1j).astype(np.complex64)
    for scaled, norm in ((True, None), (False, "forward")):
        expected = scipy.fft.ifft(lines, axis=0, norm=norm)
        np.testing.assert_array_equal(fourier.ifft(lines, 0, scaled=scaled), expected)
        work = lines.copy()
        np.testing.assert_array_equal(fourier.ifft(work, 0, scaled=scaled, overwrite=True), expected)
    work = lines.copy()
    np.testing.assert_array_equal(fourier.fft(work, overwrite=True), scipy.fft.fft(lines))


@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (8, 8)])
@pytest.mark.usefixtures("way")
def test_images(shape, rng):
    images = rng.standard_normal((3, *shape)).astype(np.float32)
    spectrum = fourier.rfft2(images)
    np.testing.assert_array_equal(spectrum, scipy.fft.rfft2(images))
    np.testing.assert_array_equal(fourier.irfft2(spectrum, shape[1]), scipy.fft.irfft2(spectrum, s=shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 5, 8), (7, 7, 7)])
@pytest.mark.usefixtures("way")
def test_maps(shape, dtype, rng):
    data = rng.standard_normal(shape).astype(dtype)
    spectrum = fourier.rfftn(data)
    np.testing.assert_array_equal(spectrum, scipy.fft.rfftn(data))
    np.testing.assert_array_equal(fourier.irfftn(spectrum, shape[2]), scipy.fft.irfftn(spectrum, s=shape))


@pytest.mark.usefixtures("way")
def test_quick_lengths():
    assert [fourier.next_fast_length(n) for n in (13, 17, 64, 97)] == [14, 18, 64, 98]


def test_scipy_fft_is_not_imported_and_can_be_later():
    code = (
        "import sys, numpy as np; from pycryo import fourier; x = np.ones((4, 4), np.float32); a = fourier.rfft2(x); "
        "assert 'scipy.fft' not in sys.modules; import scipy.fft; assert (scipy.fft.rfft2(x) == a).all()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
