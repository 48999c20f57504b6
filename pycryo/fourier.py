"""Fast Fourier transforms along one, two or three axes: those of `scipy.fft`, to the last bit, without its long import.

To import `scipy.fft` takes longer than a short command needs for everything else, nearly all of it for array libraries
other than NumPy. Its compiled transforms are therefore loaded alone; where they are not where they have always been,
`scipy.fft` itself is used. Arrays are float32, float64, complex64 or complex128.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.scipy_modules import load_compiled

_compiled = load_compiled("scipy.fft._pocketfft.pypocketfft")
_UNSCALED, _SCALED = 0, 2  # as pypocketfft calls them


def rfft(x: NDArray[Any], n: int | None = None, axis: int = -1, *, workers: int = 1) -> NDArray[Any]:
    """Transform of real lines along `axis`, cut or padded to `n`: n // 2 + 1 components."""
    if _compiled is None:
        import scipy.fft

        return np.asarray(scipy.fft.rfft(x, n, axis, workers=workers))
    fitted, _ = _fitted(x, x.shape[axis] if n is None else n, axis)
    return np.asarray(_compiled.r2c(fitted, (axis,), True, _UNSCALED, None, workers))


def irfft(
    x: NDArray[Any],
    n: int,
    axis: int = -1,
    *,
    scaled: bool = True,
    out: NDArray[Any] | None = None,
    workers: int = 1,
) -> NDArray[Any]:
    """Inverse of `rfft`, n points, into `out` if it is given; without the factor 1/n if not `scaled`."""
    if _compiled is None:
        import scipy.fft

        found = np.asarray(scipy.fft.irfft(x, n, axis, norm=None if scaled else "forward", workers=workers))
        if out is None:
            return found
        out[...] = found
        return out
    fitted, _ = _fitted(x, n // 2 + 1, axis)
    return np.asarray(_compiled.c2r(fitted, (axis,), n, False, _SCALED if scaled else _UNSCALED, out, workers))


def fft(
    x: NDArray[Any], n: int | None = None, axis: int = -1, *, overwrite: bool = False, workers: int = 1
) -> NDArray[Any]:
    """Transform of complex lines along `axis`, cut or padded to `n`; in `x` itself if it may be overwritten."""
    if _compiled is None:
        import scipy.fft

        return np.asarray(scipy.fft.fft(x, n, axis, overwrite_x=overwrite, workers=workers))
    fitted, is_new = _fitted(x, x.shape[axis] if n is None else n, axis)
    out = fitted if overwrite or is_new else None
    return np.asarray(_compiled.c2c(fitted, (axis,), True, _UNSCALED, out, workers))


def ifft(
    x: NDArray[Any], axis: int = -1, *, scaled: bool = True, overwrite: bool = False, workers: int = 1
) -> NDArray[Any]:
    """Inverse of `fft`; without the factor 1/n if not `scaled`."""
    if _compiled is None:
        import scipy.fft

        norm = None if scaled else "forward"
        return np.asarray(scipy.fft.ifft(x, axis=axis, norm=norm, overwrite_x=overwrite, workers=workers))
    norm_number = _SCALED if scaled else _UNSCALED
    return np.asarray(_compiled.c2c(x, (axis,), False, norm_number, x if overwrite else None, workers))


def rfft2(x: NDArray[Any], *, workers: int = 1) -> NDArray[Any]:
    """Half-plane transforms (..., m, n // 2 + 1) of real images (..., m, n)."""
    if _compiled is None:
        import scipy.fft

        return np.asarray(scipy.fft.rfft2(x, workers=workers))
    return np.asarray(_compiled.r2c(x, (x.ndim - 2, x.ndim - 1), True, _UNSCALED, None, workers))


def irfft2(x: NDArray[Any], n: int, *, workers: int = 1) -> NDArray[Any]:
    """Inverse of `rfft2`: images (..., m, n)."""
    if _compiled is None:
        import scipy.fft

        return np.asarray(scipy.fft.irfft2(x, s=(x.shape[-2], n), workers=workers))
    fitted, _ = _fitted(x, n // 2 + 1, x.ndim - 1)
    return np.asarray(_compiled.c2r(fitted, (x.ndim - 2, x.ndim - 1), n, False, _SCALED, None, workers))


def rfftn(x: NDArray[Any], *, workers: int = 1) -> NDArray[Any]:
    """Transform (l, m, n // 2 + 1) of a real map (l, m, n)."""
    if _compiled is None:
        import scipy.fft

        return np.asarray(scipy.fft.rfftn(x, workers=workers))
    return np.asarray(_compiled.r2c(x, (0, 1, 2), True, _UNSCALED, None, workers))


def irfftn(x: NDArray[Any], n: int, *, workers: int = 1) -> NDArray[Any]:
    """Inverse of `rfftn`: a map (l, m, n)."""
    if _compiled is None:
        import scipy.fft

        return np.asarray(scipy.fft.irfftn(x, s=(*x.shape[:2], n), workers=workers))
    fitted, _ = _fitted(x, n // 2 + 1, 2)
    return np.asarray(_compiled.c2r(fitted, (0, 1, 2), n, False, _SCALED, None, workers))


def next_fast_length(n: int) -> int:
    """The smallest number from `n` on whose complex transform is quick: products of 2, 3, 5, 7 and 11."""
    if _compiled is None:
        import scipy.fft

        return int(scipy.fft.next_fast_len(n))
    return int(_compiled.good_size(n, False))


def _fitted(x: NDArray[Any], n: int, axis: int) -> tuple[NDArray[Any], bool]:
    """`x` cut or padded with zeros to `n` along `axis`, and whether that is a new array."""
    index = [slice(None)] * x.ndim
    index[axis] = slice(0, n)
    if x.shape[axis] >= n:
        return x[tuple(index)], False
    shape = list(x.shape)
    shape[axis] = n
    index[axis] = slice(0, x.shape[axis])
    padded = np.zeros(shape, x.dtype)
    padded[tuple(index)] = x
    return padded, True
