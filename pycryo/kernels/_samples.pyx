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
