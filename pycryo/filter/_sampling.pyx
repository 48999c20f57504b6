# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""Per-image bookkeeping of the particle filter: counter-based draws, resampling, proposal densities."""

import numpy as np

from libc.math cimport log, sqrt
from libc.stdint cimport int32_t, int64_t, uint64_t

cdef extern from *:
    """
    static inline void pycryo_mul(unsigned long long a, unsigned long long b, unsigned long long* high,
                                  unsigned long long* low) {
        const unsigned __int128 product = (unsigned __int128)a * b;
        *high = (unsigned long long)(product >> 64);
        *low = (unsigned long long)product;
    }
    """
    void pycryo_mul(unsigned long long a, unsigned long long b, unsigned long long* high,
                    unsigned long long* low) noexcept nogil


cdef void philox(uint64_t* counter, uint64_t key0, uint64_t key1) noexcept nogil:
    # Philox4x64-10: Salmon et al., SC 2011, "Parallel random numbers: as easy as 1, 2, 3".
    cdef unsigned long long high0, low0, high1, low1
    cdef int step
    for step in range(10):
        pycryo_mul(<uint64_t>0xD2E7470EE14C6C93, counter[0], &high0, &low0)
        pycryo_mul(<uint64_t>0xCA5A826395121157, counter[2], &high1, &low1)
        counter[0] = high1 ^ counter[1] ^ key0
        counter[1] = low1
        counter[2] = high0 ^ counter[3] ^ key1
        counter[3] = low0
        key0 += <uint64_t>0x9E3779B97F4A7C15
        key1 += <uint64_t>0xBB67AE8584CAA73B


def uniform(uint64_t seed, uint64_t stream, const int64_t[::1] ids, Py_ssize_t count):
    """(n, count) float64 in (0, 1): draws of the particles `ids`; they depend on nothing but the arguments."""
    cdef Py_ssize_t n = ids.shape[0], i, j
    out = np.empty((n, count))
    cdef double[:, ::1] view = out
    cdef uint64_t counter[4]
    with nogil:
        for i in range(n):
            for j in range(count):
                if j % 4 == 0:
                    counter[0] = j // 4
                    counter[1] = <uint64_t>ids[i]
                    counter[2] = 0
                    counter[3] = 0
                    philox(counter, seed, stream)
                view[i, j] = ((counter[j % 4] >> 11) + 0.5) * (1.0 / 9007199254740992.0)
    return out


def systematic_resample(const double[:, ::1] weight, const double[::1] offset, Py_ssize_t count):
    """(n, count) int64 indices, ascending: systematic resampling of each row of `weight` (n, m; sum 1).

    `offset` (n,) in [0, 1) places the comb of `count` teeth.
    """
    cdef Py_ssize_t n = weight.shape[0], m = weight.shape[1], i, j, k
    cdef double reached, total
    out = np.empty((n, count), np.int64)
    cdef int64_t[:, ::1] view = out
    with nogil:
        for i in range(n):
            total = 0
            for k in range(m):
                total += weight[i, k]
            k = 0
            reached = weight[i, 0]
            for j in range(count):
                while reached < (j + offset[i]) / count * total and k < m - 1:
                    k += 1
                    reached += weight[i, k]
                view[i, j] = k
    return out


def rotation_proposal_density(const double[:, :, ::1] points, const double[:, :, ::1] centres,
                              const double[::1] scale, const int32_t[:, ::1] class_of_point,
                              const int32_t[:, ::1] class_of_centre, double same, double other):
    """(n, a) log density of a mixture of heavy-tailed kernels at the rotations `points` (n, a, 4) and their classes.

    Kernel about each of `centres` (n, b, 4), equal weights: v = tan(half angle) times axis follows a 3-D Student t
    with 4 degrees of freedom and scale tan = `scale` (n,); the density is with respect to the Haar measure, up to a
    constant. A point is of its centre's class with probability `same`, of each other class with `other`.
    """
    cdef Py_ssize_t n = points.shape[0], a = points.shape[1], b = centres.shape[1], i, j, k
    cdef double dot, square, total, base, factor, part
    out = np.empty((n, a))
    cdef double[:, ::1] view = out
    with nogil:
        for i in range(n):
            factor = 1.0 / (4.0 * scale[i] * scale[i])
            for j in range(a):
                total = 0
                for k in range(b):
                    dot = (points[i, j, 0] * centres[i, k, 0] + points[i, j, 1] * centres[i, k, 1]
                           + points[i, j, 2] * centres[i, k, 2] + points[i, j, 3] * centres[i, k, 3])
                    square = dot * dot
                    if square < 1e-12:
                        square = 1e-12
                    # (1 + v²/(4 s²))^(-7/2) (1 + v²)², v² = (1 - dot²)/dot², 1 + v² = 1/dot²
                    base = 1.0 + (1.0 - square) / square * factor
                    part = 1.0 / (base * base * base * sqrt(base) * square * square)
                    total += part * (same if class_of_point[i, j] == class_of_centre[i, k] else other)
                view[i, j] = log(total / b) - 3.0 * log(scale[i])
    return out


def shift_proposal_density(const double[:, :, ::1] points, const double[:, :, ::1] centres,
                           const double[::1] scale):
    """(n, a) log density of a mixture of 2-D Student t kernels (4 degrees of freedom) at `points` (n, a, 2)."""
    cdef Py_ssize_t n = points.shape[0], a = points.shape[1], b = centres.shape[1], i, j, k
    cdef double dx, dy, total, base, factor
    out = np.empty((n, a))
    cdef double[:, ::1] view = out
    with nogil:
        for i in range(n):
            factor = 1.0 / (4.0 * scale[i] * scale[i])
            for j in range(a):
                total = 0
                for k in range(b):
                    dx = points[i, j, 0] - centres[i, k, 0]
                    dy = points[i, j, 1] - centres[i, k, 1]
                    base = 1.0 + (dx * dx + dy * dy) * factor
                    total += 1.0 / (base * base * base)
                view[i, j] = log(total / b) - 2.0 * log(scale[i])
    return out
