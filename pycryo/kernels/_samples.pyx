# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""Samples of images picked by their places, which NumPy copies one by one."""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t


def pick(const float[:, :, ::1] transforms, const int64_t[::1] places, float[:, :, ::1] out, int threads):
    """Copy to `out` (n, 2, n_place), of transforms (n, size, 2) of real and imaginary parts, the samples at `places`."""
    cdef Py_ssize_t n = transforms.shape[0], m = places.shape[0], i, j
    if out.shape[0] != n or out.shape[1] != 2 or out.shape[2] != m:
        raise ValueError(f"out: expected shape ({n}, 2, {m})")
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        for j in range(m):
            out[i, 0, j] = transforms[i, places[j], 0]
            out[i, 1, j] = transforms[i, places[j], 1]


def columns(const float[:, ::1] rows, const int64_t[::1] places, int threads):
    """(n, n_place) float32: what `rows` (n, size) have at `places`."""
    cdef Py_ssize_t n = rows.shape[0], m = places.shape[0], i, j
    out = np.empty((n, m), np.float32)
    cdef float[:, ::1] view = out
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        for j in range(m):
            view[i, j] = rows[i, places[j]]
    return out


def place(
    const float[:, :, ::1] samples,
    const int64_t[::1] places,
    const int64_t[::1] mates,
    const float[::1] factors,
    int64_t size,
    int threads,
):
    """(n, size, 2) float32: samples (n, 2, m) times `factors` (m,) at their `places`, 0 elsewhere.

    Their conjugates are at `mates` (m,), where these are not negative.
    """
    cdef Py_ssize_t n = samples.shape[0], m = places.shape[0], i, j
    transforms = np.zeros((n, size, 2), np.float32)
    cdef float[:, :, ::1] out = transforms
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        for j in range(m):
            out[i, places[j], 0] = factors[j] * samples[i, 0, j]
            out[i, places[j], 1] = factors[j] * samples[i, 1, j]
            if mates[j] >= 0:
                out[i, mates[j], 0] = factors[j] * samples[i, 0, j]
                out[i, mates[j], 1] = -factors[j] * samples[i, 1, j]
    return transforms
