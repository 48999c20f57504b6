# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""The first step from an image to its Fourier samples."""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int32_t


cdef float mean_of(const float* image, const int32_t* around, Py_ssize_t count) noexcept nogil:
    # Four sums, so that no addition waits for the one before.
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    cdef Py_ssize_t k = 0
    while k + 4 <= count:
        a += image[around[k]]
        b += image[around[k + 1]]
        c += image[around[k + 2]]
        d += image[around[k + 3]]
        k += 4
    while k < count:
        a += image[around[k]]
        k += 1
    return <float>((a + b + c + d) / count)


cdef void move(const float* image, Py_ssize_t box, float mean, float* out) noexcept nogil:
    cdef Py_ssize_t half = box // 2, y, x
    cdef const float* source
    cdef float* row
    for y in range(box):
        source = image + y * box
        row = out + (y - half if y >= half else y - half + box) * box
        for x in range(half):
            row[x + box - half] = source[x] - mean
        for x in range(half, box):
            row[x - half] = source[x] - mean


def without_background(const float[:, :, ::1] images, const int32_t[::1] around, int threads):
    """(n, N, N) images less their mean at the pixels `around`, with the centre pixel moved to [0, 0]."""
    cdef Py_ssize_t n = images.shape[0], box = images.shape[1], i
    if images.shape[2] != box or around.shape[0] == 0 or np.min(around) < 0 or np.max(around) >= box * box:
        raise ValueError(f"expected square images and pixels within, got {box} x {images.shape[2]} px")
    out = np.empty((n, box, box), np.float32)
    cdef float[:, :, ::1] view = out
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        move(&images[i, 0, 0], box, mean_of(&images[i, 0, 0], &around[0], around.shape[0]), &view[i, 0, 0])
    return out
