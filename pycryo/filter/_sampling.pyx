# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""Per-image work of the particle filter before the scores: counter-based draws, proposals and their densities."""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport cos, fabs, log, pi, sin, sqrt
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


cdef void fill_uniform(double* out, Py_ssize_t count, uint64_t seed, uint64_t stream, int64_t particle) noexcept nogil:
    cdef uint64_t counter[4]
    cdef Py_ssize_t j
    for j in range(count):
        if j % 4 == 0:
            counter[0] = j // 4
            counter[1] = <uint64_t>particle
            counter[2] = 0
            counter[3] = 0
            philox(counter, seed, stream)
        out[j] = ((counter[j % 4] >> 11) + 0.5) * (1.0 / 9007199254740992.0)


cdef void fill_normal(double* out, double* drawn, Py_ssize_t count, uint64_t seed, uint64_t stream,
                      int64_t particle) noexcept nogil:
    # Box-Muller; `drawn` has room for count + 1 uniform draws, all radii before the angles.
    cdef Py_ssize_t pairs = (count + 1) // 2, j
    cdef double radius, angle
    fill_uniform(drawn, 2 * pairs, seed, stream, particle)
    for j in range(pairs):
        radius = sqrt(-2.0 * log(drawn[j]))
        angle = 2.0 * pi * drawn[pairs + j]
        out[j] = radius * cos(angle)
        if pairs + j < count:
            out[pairs + j] = radius * sin(angle)


cdef void fill_student(double* out, double* drawn, Py_ssize_t count, Py_ssize_t dimension, uint64_t seed,
                       uint64_t stream, uint64_t chi_stream, int64_t particle) noexcept nogil:
    # `drawn` has room for count·max(dimension, 2) + 1 uniform draws.
    cdef Py_ssize_t j, d
    cdef double factor
    fill_normal(out, drawn, count * dimension, seed, stream, particle)
    fill_uniform(drawn, 2 * count, seed, chi_stream, particle)
    for j in range(count):
        # -2 log of the product of two uniform draws is a χ² with 4 degrees of freedom.
        factor = sqrt(4.0 / (-2.0 * log(drawn[j] * drawn[count + j])))
        for d in range(dimension):
            out[j * dimension + d] *= factor


def uniform(uint64_t seed, uint64_t stream, const int64_t[::1] ids, Py_ssize_t count):
    """(n, count) float64 in (0, 1): draws of the particles `ids`; they depend on nothing but the arguments."""
    cdef Py_ssize_t n = ids.shape[0], i
    out = np.empty((n, count))
    cdef double[:, ::1] view = out
    if count > 0:
        with nogil:
            for i in range(n):
                fill_uniform(&view[i, 0], count, seed, stream, ids[i])
    return out


def normal(uint64_t seed, uint64_t stream, const int64_t[::1] ids, Py_ssize_t count):
    """(n, count) standard normal draws of the particles `ids`."""
    cdef Py_ssize_t n = ids.shape[0], i
    out = np.empty((n, count))
    cdef double[:, ::1] view = out
    cdef double[::1] drawn = np.empty(count + 1)
    if count > 0:
        with nogil:
            for i in range(n):
                fill_normal(&view[i, 0], &drawn[0], count, seed, stream, ids[i])
    return out


def student(uint64_t seed, uint64_t stream, uint64_t chi_stream, const int64_t[::1] ids, Py_ssize_t count,
            Py_ssize_t dimension, int threads):
    """(n, count, dimension) draws of a spherical Student t with 4 degrees of freedom and unit scale.

    Its normal draws are of `stream`, the lengths that divide them of `chi_stream`.
    """
    cdef Py_ssize_t n = ids.shape[0], i
    out = np.empty((n, count, dimension))
    cdef double[:, :, ::1] view = out
    cdef double[:, ::1] drawn = np.empty((threads, count * max(dimension, 2) + 1))
    if count > 0 and dimension > 0:
        for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
            fill_student(&view[i, 0, 0], &drawn[threadid(), 0], count, dimension, seed, stream, chi_stream, ids[i])
    return out


def turn_rotations(const double[:, :, ::1] rotations, const int64_t[:, ::1] pick, const double[:, :, ::1] tangent,
                   const double[::1] scale):
    """(n, c, 4) rotations: those of `rotations` (n, a, 4) that are picked, `pick` (n, c), each turned on.

    The turn is about `tangent` (n, c, 3), by twice the angle whose tangent is `scale` (n,) times its length.
    """
    cdef Py_ssize_t n = pick.shape[0], c = pick.shape[1], i, j
    cdef double x, y, z, norm, w0, x0, y0, z0
    cdef int64_t k
    out = np.empty((n, c, 4))
    cdef double[:, :, ::1] view = out
    with nogil:
        for i in range(n):
            for j in range(c):
                x = scale[i] * tangent[i, j, 0]
                y = scale[i] * tangent[i, j, 1]
                z = scale[i] * tangent[i, j, 2]
                norm = 1.0 / sqrt(1.0 + x * x + y * y + z * z)
                k = pick[i, j]
                w0 = norm * rotations[i, k, 0]
                x0 = norm * rotations[i, k, 1]
                y0 = norm * rotations[i, k, 2]
                z0 = norm * rotations[i, k, 3]
                view[i, j, 0] = w0 - x * x0 - y * y0 - z * z0
                view[i, j, 1] = x0 + x * w0 + y * z0 - z * y0
                view[i, j, 2] = y0 - x * z0 + y * w0 + z * x0
                view[i, j, 3] = z0 + x * y0 - y * x0 + z * w0
    return out


def move_shifts(const double[:, :, ::1] shifts, const int64_t[:, ::1] pick, const double[:, :, ::1] tangent,
                const double[::1] scale):
    """(n, c, 2) shifts: those of `shifts` (n, a, 2) that are picked, `pick` (n, c), plus `scale` (n,) times `tangent`."""
    cdef Py_ssize_t n = pick.shape[0], c = pick.shape[1], i, j, d
    out = np.empty((n, c, 2))
    cdef double[:, :, ::1] view = out
    with nogil:
        for i in range(n):
            for j in range(c):
                for d in range(2):
                    view[i, j, d] = shifts[i, pick[i, j], d] + tangent[i, j, d] * scale[i]
    return out


cdef Py_ssize_t end_of_repeats(const int64_t* pick, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t k = first + 1
    while k < count and pick[k] == pick[first]:
        k += 1
    return k


cdef void rotation_density(const double* point, const int32_t* class_of_point, Py_ssize_t a, const double* centre,
                           const int32_t* class_of_centre, const int64_t* pick, Py_ssize_t c, double scale,
                           double same, double other, double* out, double* columns) noexcept nogil:
    # `columns` has room for the components of the points, each for itself.
    cdef double* w = columns
    cdef double* x = columns + a
    cdef double* y = columns + 2 * a
    cdef double* z = columns + 3 * a
    cdef const double* q
    cdef Py_ssize_t j, first = 0, end
    cdef int32_t its_class
    cdef double dot, square, base, factor = 1.0 / (4.0 * scale * scale)
    for j in range(a):
        w[j] = point[4 * j]
        x[j] = point[4 * j + 1]
        y[j] = point[4 * j + 2]
        z[j] = point[4 * j + 3]
        out[j] = 0
    while first < c:
        end = end_of_repeats(pick, first, c)
        q = centre + 4 * pick[first]
        its_class = class_of_centre[pick[first]]
        for j in range(a):
            dot = fabs(w[j] * q[0] + x[j] * q[1] + y[j] * q[2] + z[j] * q[3])
            dot = dot if dot > 1e-6 else 1e-6
            square = dot * dot
            # (1 + v²/(4 s²))^(-7/2) (1 + v²)², v² = (1 - dot²)/dot², 1 + v² = 1/dot²
            base = square + (1.0 - square) * factor
            out[j] += ((end - first) * (same if class_of_point[j] == its_class else other)
                       * square * dot / (base * base * base * sqrt(base)))
        first = end
    for j in range(a):
        out[j] = log(out[j] / c) - 3.0 * log(scale)


cdef void shift_density(const double* point, Py_ssize_t a, const double* centre, const int64_t* pick, Py_ssize_t c,
                        double scale, double* out) noexcept nogil:
    cdef Py_ssize_t j, first = 0, end
    cdef double x, y, dx, dy, base, factor = 1.0 / (4.0 * scale * scale)
    for j in range(a):
        out[j] = 0
    while first < c:
        end = end_of_repeats(pick, first, c)
        x = centre[2 * pick[first]]
        y = centre[2 * pick[first] + 1]
        for j in range(a):
            dx = point[2 * j] - x
            dy = point[2 * j + 1] - y
            base = 1.0 + (dx * dx + dy * dy) * factor
            out[j] += (end - first) / (base * base * base)
        first = end
    for j in range(a):
        out[j] = log(out[j] / c) - 2.0 * log(scale)


def rotation_proposal_density(const double[:, :, ::1] points, const double[:, :, ::1] centres,
                              const int64_t[:, ::1] pick, const double[::1] scale,
                              const int32_t[:, ::1] class_of_point, const int32_t[:, ::1] class_of_centre, double same,
                              double other, int threads):
    """(n, a) log density of a mixture of heavy-tailed kernels at the rotations `points` (n, a, 4) and their classes.

    Kernel about each of the `centres` (n, b, 4) that is picked, `pick` (n, c) ascending, equal weights: v = tan(half
    angle) times axis follows a 3-D Student t with 4 degrees of freedom and scale tan = `scale` (n,); the density is
    with respect to the Haar measure, up to a constant. A point is of its centre's class with probability `same`, of
    each other class with `other`.
    """
    cdef Py_ssize_t n = points.shape[0], a = points.shape[1], c = pick.shape[1], i
    out = np.empty((n, a))
    cdef double[:, ::1] view = out
    cdef double[:, ::1] columns = np.empty((threads, 4 * a))
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        rotation_density(&points[i, 0, 0], &class_of_point[i, 0], a, &centres[i, 0, 0], &class_of_centre[i, 0],
                         &pick[i, 0], c, scale[i], same, other, &view[i, 0], &columns[threadid(), 0])
    return out


def shift_proposal_density(const double[:, :, ::1] points, const double[:, :, ::1] centres,
                           const int64_t[:, ::1] pick, const double[::1] scale):
    """(n, a) log density of a mixture of 2-D Student t kernels (4 degrees of freedom) at `points` (n, a, 2).

    Kernel about each of the `centres` (n, b, 2) that is picked, `pick` (n, c) ascending, equal weights.
    """
    cdef Py_ssize_t n = points.shape[0], a = points.shape[1], c = pick.shape[1], i
    out = np.empty((n, a))
    cdef double[:, ::1] view = out
    with nogil:
        for i in range(n):
            shift_density(&points[i, 0, 0], a, &centres[i, 0, 0], &pick[i, 0], c, scale[i], &view[i, 0])
    return out
