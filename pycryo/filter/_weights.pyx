# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""Per-image work of the particle filter after the scores: weights of points and of pairs, resampling.

The log density of rotation r with shift t of an image is pairs[r, t] + of_rotation[r] + of_shift[t]. Sums are in the
order of the points, so that the figures of an image depend on nothing but the image.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, ceil, exp, log, sqrt
from libc.stdint cimport int32_t, int64_t

# Points of less than exp of this times the heaviest one's weight have none: of any number that memory holds, all
# together are beyond the last bit of the sum.
cdef double LEAST = -60.0
# The smallest power that weights are raised to.
cdef double LEAST_POWER = 1e-9
# The effective sample size is found up to this share.
cdef double TOLERANCE = 0.01
cdef int MOST_STEPS = 60


cdef double weigh(const double* relative, double* weight, Py_ssize_t m, double power, double* size,
                  double* slope) noexcept nogil:
    # Weights exp(power·relative) and their sum; effective sample size, and the slope of its log along log power.
    cdef double w, x, total = 0, squares = 0, first = 0, second = 0
    cdef Py_ssize_t k
    for k in range(m):
        x = power * relative[k]
        if x < LEAST:
            weight[k] = 0
            continue
        w = exp(x)
        weight[k] = w
        total += w
        squares += w * w
        first += w * x
        second += w * w * x
    size[0] = total * total / squares
    slope[0] = 2.0 * (first / total - second / squares)
    return total


cdef double nth_largest(const double* value, Py_ssize_t m, double* top, Py_ssize_t count) noexcept nogil:
    # `top` has room for `count` of them.
    cdef Py_ssize_t k, j, filled = 0
    for k in range(m):
        if filled < count:
            filled += 1
        elif not value[k] > top[count - 1]:
            continue
        j = filled - 1
        while j > 0 and top[j - 1] < value[k]:
            top[j] = top[j - 1]
            j -= 1
        top[j] = value[k]
    return top[filled - 1]


cdef double flatten(const double* relative, double* weight, Py_ssize_t m, double goal) noexcept nogil:
    # Weights exp(power·relative) with the largest power ≤ 1 at which the effective sample size is `goal`; their sum.
    cdef double low = LEAST_POWER, high = INFINITY, size, slope, total, power, following, wanted
    cdef int step
    wanted = (1.0 + 0.5 * TOLERANCE) * goal
    # A first guess: the last of the heaviest `goal` points has the weight exp(-2).
    power = nth_largest(relative, m, weight, <Py_ssize_t>ceil(goal) if goal > 1 else 1)
    power = 2.0 / -power if power < -2.0 else 1.0
    power = power if power > low else low
    for step in range(MOST_STEPS):
        total = weigh(relative, weight, m, power, &size, &slope)
        if size >= goal:
            if power == 1.0 or size <= (1.0 + TOLERANCE) * goal:
                return total
            low = power
        else:
            high = power
        # Newton's step in log size along log power, within the bounds that are known; else half way between them.
        following = power * exp(log(wanted / size) / slope) if slope < 0 else high
        if not low < following < high:
            following = sqrt(low * high) if high < INFINITY else 1.0
        power = following if following < 1.0 else 1.0
    return weigh(relative, weight, m, low, &size, &slope)


cdef double join(const float* pairs, const double* of_rotation, const double* of_shift, Py_ssize_t n_rotation,
                 Py_ssize_t n_shift, double* out) noexcept nogil:
    # Log densities of all pairs, less the greatest, which is returned.
    cdef Py_ssize_t r, t
    cdef double value, top = -INFINITY
    for r in range(n_rotation):
        for t in range(n_shift):
            value = pairs[r * n_shift + t] + of_rotation[r] + of_shift[t]
            out[r * n_shift + t] = value
            top = value if value > top else top
    for r in range(n_rotation * n_shift):
        out[r] -= top
    return top


cdef void resample_row(const double* weight, Py_ssize_t m, double offset, Py_ssize_t count, int64_t* out) noexcept nogil:
    cdef Py_ssize_t j, k
    cdef double reached, total = 0
    for k in range(m):
        total += weight[k]
    k = 0
    reached = weight[0]
    for j in range(count):
        while reached < (j + offset) / count * total and k < m - 1:
            k += 1
            reached += weight[k]
        out[j] = k


def systematic_resample(const double[:, ::1] weight, const double[::1] offset, Py_ssize_t count):
    """(n, count) int64 indices, ascending: systematic resampling of each row of `weight` (n, m), of any sum.

    `offset` (n,) in [0, 1) places the comb of `count` teeth.
    """
    cdef Py_ssize_t n = weight.shape[0], i
    out = np.empty((n, count), np.int64)
    cdef int64_t[:, ::1] view = out
    if count > 0:
        with nogil:
            for i in range(n):
                resample_row(&weight[i, 0], weight.shape[1], offset[i], count, &view[i, 0])
    return out


def merge_repeats(const int64_t[:, ::1] picked):
    """(n, m) float64 weights of drawn indices (ascending rows): a repeated index counts at its first place."""
    cdef Py_ssize_t n = picked.shape[0], m = picked.shape[1], i, j, first = 0
    out = np.zeros((n, m))
    cdef double[:, ::1] view = out
    with nogil:
        for i in range(n):
            for j in range(m):
                if j == 0 or picked[i, j] != picked[i, first]:
                    first = j
                view[i, first] += 1.0
            for j in range(m):
                view[i, j] /= m
    return out


cdef void flatten_row(const double* log_weight, double* relative, double* out, Py_ssize_t m,
                      double goal) noexcept nogil:
    cdef double total, top = -INFINITY
    cdef Py_ssize_t k
    for k in range(m):
        top = log_weight[k] if log_weight[k] > top else top
    for k in range(m):
        relative[k] = log_weight[k] - top
    total = flatten(relative, out, m, goal)
    for k in range(m):
        out[k] /= total


def flatten_weights(const double[:, ::1] log_weight, double min_effective, int threads):
    """(n, m) float64 weights, sum 1, raised to the largest power ≤ 1 of the effective size `min_effective` or m/2."""
    cdef Py_ssize_t n = log_weight.shape[0], m = log_weight.shape[1], i
    cdef double goal = min(min_effective, 0.5 * m)
    out = np.empty((n, m))
    cdef double[:, ::1] view = out
    cdef double[:, ::1] relative = np.empty((threads, m))
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        flatten_row(&log_weight[i, 0], &relative[threadid(), 0], &view[i, 0], m, goal)
    return out


def best_pairs(const float[:, :, ::1] pairs, const double[:, ::1] of_rotation, const double[:, ::1] of_shift):
    """(n,) int64 index r·T + t of the first of the best pairs, and (n,) float64 its log density."""
    cdef Py_ssize_t n = pairs.shape[0], i, r, t
    cdef double value
    index, best = np.zeros(n, np.int64), np.full(n, -np.inf)
    cdef int64_t[::1] index_view = index
    cdef double[::1] best_view = best
    with nogil:
        for i in range(n):
            for r in range(pairs.shape[1]):
                for t in range(pairs.shape[2]):
                    value = pairs[i, r, t] + of_rotation[i, r] + of_shift[i, t]
                    if value > best_view[i]:
                        best_view[i] = value
                        index_view[i] = r * pairs.shape[2] + t
    return index, best


cdef void add_marginals(const double* weight, double total, Py_ssize_t n_rotation, Py_ssize_t n_shift,
                        const int32_t* classes, int32_t its_class, double* along_rotation, double* along_shift,
                        double* alike_shift) noexcept nogil:
    # To zeros.
    cdef Py_ssize_t r, t
    cdef double w
    for r in range(n_rotation):
        for t in range(n_shift):
            w = weight[r * n_shift + t] / total
            along_rotation[r] += w
            along_shift[t] += w
            if classes[r] == its_class:
                alike_shift[t] += w


cdef void marginals_row(const float* pairs, const double* of_rotation, const double* of_shift, Py_ssize_t n_rotation,
                        Py_ssize_t n_shift, const int32_t* classes, int32_t its_class, double goal, double* relative,
                        double* weight, double* along_rotation, double* along_shift,
                        double* alike_shift) noexcept nogil:
    cdef double total
    join(pairs, of_rotation, of_shift, n_rotation, n_shift, relative)
    total = flatten(relative, weight, n_rotation * n_shift, goal)
    add_marginals(weight, total, n_rotation, n_shift, classes, its_class, along_rotation, along_shift, alike_shift)


def pair_marginals(const float[:, :, ::1] pairs, const double[:, ::1] of_rotation, const double[:, ::1] of_shift,
                   const int32_t[:, ::1] classes, const int32_t[::1] its_class, double min_effective, int threads):
    """Weights of rotations (n, R) and of shifts (n, T) of pairs flattened as by `flatten_weights`; float64.

    The third array are weights of shifts (n, T) with the rotations whose `classes` (n, R) are `its_class` (n,) only.
    """
    cdef Py_ssize_t n = pairs.shape[0], n_rotation = pairs.shape[1], n_shift = pairs.shape[2], i
    cdef double goal = min(min_effective, 0.5 * n_rotation * n_shift)
    along_rotation, along_shift, alike_shift = np.zeros((n, n_rotation)), np.zeros((n, n_shift)), np.zeros((n, n_shift))
    cdef double[:, ::1] rotation_view = along_rotation
    cdef double[:, ::1] shift_view = along_shift
    cdef double[:, ::1] alike_view = alike_shift
    cdef double[:, :, ::1] room = np.empty((threads, 2, n_rotation * n_shift))
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        marginals_row(&pairs[i, 0, 0], &of_rotation[i, 0], &of_shift[i, 0], n_rotation, n_shift, &classes[i, 0],
                      its_class[i], goal, &room[threadid(), 0, 0], &room[threadid(), 1, 0], &rotation_view[i, 0],
                      &shift_view[i, 0], &alike_view[i, 0])
    return along_rotation, along_shift, alike_shift


cdef void draw_row(const float* pairs, const double* of_rotation, const double* of_shift, Py_ssize_t n_rotation,
                   Py_ssize_t n_shift, double offset, Py_ssize_t count, double* relative, double* weight,
                   int64_t* picked, double* figures) noexcept nogil:
    cdef Py_ssize_t m = n_rotation * n_shift
    cdef double slope, top = join(pairs, of_rotation, of_shift, n_rotation, n_shift, relative)
    cdef double total = weigh(relative, weight, m, 1.0, &figures[2], &slope)
    figures[0] = top + log(total / m)
    # The heaviest pair has the weight exp(0).
    figures[1] = 1.0 / total
    resample_row(weight, m, offset, count, picked)


def draw_pairs(const float[:, :, ::1] pairs, const double[:, ::1] of_rotation, const double[:, ::1] of_shift,
               const double[::1] offset, Py_ssize_t count, int threads):
    """(n, count) int64 indices r·T + t of pairs, as `systematic_resample` draws them, and (n, 3) float64 figures.

    These are the log of the mean density of all pairs, the largest weight, and the effective sample size.
    """
    cdef Py_ssize_t n = pairs.shape[0], n_rotation = pairs.shape[1], n_shift = pairs.shape[2], i
    picked, figures = np.empty((n, count), np.int64), np.empty((n, 3))
    cdef int64_t[:, ::1] picked_view = picked
    cdef double[:, ::1] figures_view = figures
    cdef double[:, :, ::1] room = np.empty((threads, 2, n_rotation * n_shift))
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        draw_row(&pairs[i, 0, 0], &of_rotation[i, 0], &of_shift[i, 0], n_rotation, n_shift, offset[i], count,
                 &room[threadid(), 0, 0], &room[threadid(), 1, 0], &picked_view[i, 0], &figures_view[i, 0])
    return picked, figures
