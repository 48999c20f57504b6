# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""Points of the particle filter, image by image: their modes, copies of them, their spreads and means.

Sums are in the order of the points, so that the figures of an image depend on nothing but the image.
"""

import numpy as np

from libc.math cimport M_PI, acos, cos, fabs, sqrt
from libc.stdint cimport int32_t, int64_t


cdef void mark_modes(const double* quaternion, double* left, const int32_t* its_class, int64_t* mode, Py_ssize_t m,
                     Py_ssize_t n_mode, double least) noexcept nogil:
    # `left` (m,) has the weights of the points without a mode, 0 for others.
    cdef Py_ssize_t number, j, top
    cdef const double* centre
    cdef double cosine
    for number in range(n_mode):
        top = 0
        for j in range(1, m):
            top = j if left[j] > left[top] else top
        if not left[top] > 0.0:
            return
        centre = quaternion + 4 * top
        mode[top] = number
        left[top] = 0.0
        for j in range(m):
            if left[j] > 0.0 and its_class[j] == its_class[top]:
                cosine = (quaternion[4 * j] * centre[0] + quaternion[4 * j + 1] * centre[1]
                          + quaternion[4 * j + 2] * centre[2] + quaternion[4 * j + 3] * centre[3])
                if fabs(cosine) >= least:
                    mode[j] = number
                    left[j] = 0.0


def find_modes(const double[:, :, ::1] quaternions, const double[:, ::1] weight, const int32_t[:, ::1] classes,
               const double[::1] radius, Py_ssize_t n_mode):
    """(n, m) int64: the mode of each point, -1 for none.

    The heaviest point and those of its class within `radius` (n,) of it, radians, are mode 0; the heaviest of the rest
    with its neighbours is mode 1, and so on. Points without weight, or of NaN, are in no mode.
    """
    cdef Py_ssize_t n = weight.shape[0], m = weight.shape[1], i
    out = np.full((n, m), -1, np.int64)
    cdef int64_t[:, ::1] view = out
    cdef double[:, ::1] left = np.where(np.greater(weight, 0.0), weight, 0.0)
    if m > 0:
        with nogil:
            for i in range(n):
                mark_modes(&quaternions[i, 0, 0], &left[i, 0], &classes[i, 0], &view[i, 0], m, n_mode,
                           cos(0.5 * radius[i]))
    return out


def gather_mode(const double[:, :, ::1] quaternion, const double[:, :, ::1] shift, const double[:, ::1] weight,
                const int32_t[:, ::1] classes, const int64_t[:, ::1] mode, const int64_t[::1] rows, int64_t number):
    """The points of the images `rows` (k,) that are of mode `number`: rotations, shifts, weights, sum 1, and classes.

    `mode` (n, m) is that of each point. All get room for as many (k, width, ...) as the richest has; what is not used
    has no weight.
    """
    cdef Py_ssize_t k = rows.shape[0], m = mode.shape[1], i, j, c, here, width = 1
    cdef int64_t row
    cdef double total
    for i in range(k):
        here = 0
        for j in range(m):
            here += mode[rows[i], j] == number
        width = here if here > width else width
    rotations, shifts = np.zeros((k, width, 4)), np.zeros((k, width, 2))
    weights, its_classes = np.zeros((k, width)), np.zeros((k, width), np.int32)
    cdef double[:, :, ::1] rotation_view = rotations
    cdef double[:, :, ::1] shift_view = shifts
    cdef double[:, ::1] weight_view = weights
    cdef int32_t[:, ::1] class_view = its_classes
    with nogil:
        for i in range(k):
            row = rows[i]
            here = 0
            total = 0
            for j in range(m):
                if mode[row, j] != number:
                    continue
                for c in range(4):
                    rotation_view[i, here, c] = quaternion[row, j, c]
                for c in range(2):
                    shift_view[i, here, c] = shift[row, j, c]
                class_view[i, here] = classes[row, j]
                weight_view[i, here] = weight[row, j]
                total += weight[row, j]
                here += 1
            for j in range(here):
                weight_view[i, j] /= total
    return rotations, shifts, weights, its_classes


def place_pairs(const int64_t[:, ::1] index, const double[:, :, ::1] rotations, const double[:, :, ::1] shifts,
                const int32_t[:, ::1] classes, const int64_t[::1] rows, double[:, :, ::1] quaternion,
                double[:, :, ::1] shift, int32_t[:, ::1] class_index):
    """Copy the pairs `index` (k, count), r·T + t, to the rows `rows` (k,) of `quaternion`, `shift` and `class_index`.

    They are those of `rotations` (k, R, 4) with their `classes` (k, R) and `shifts` (k, T, 2).
    """
    cdef Py_ssize_t i, j, c
    cdef int64_t row, r, t, n_shift = shifts.shape[1]
    if quaternion.shape[1] != index.shape[1] or shift.shape[1] != index.shape[1] or class_index.shape[1] != index.shape[1]:
        raise ValueError(f"expected room for {index.shape[1]} points")
    with nogil:
        for i in range(index.shape[0]):
            row = rows[i]
            for j in range(index.shape[1]):
                r = index[i, j] // n_shift
                t = index[i, j] - r * n_shift
                for c in range(4):
                    quaternion[row, j, c] = rotations[i, r, c]
                for c in range(2):
                    shift[row, j, c] = shifts[i, t, c]
                class_index[row, j] = classes[i, r]


cdef double spread(double total, double squares, int n_axis) noexcept nogil:
    return sqrt(squares / (total if total > 1e-300 else 1e-300) / n_axis)


def rotation_spread(const double[:, ::1] weight, const double[:, :, ::1] rotations, const int32_t[:, ::1] classes,
                    const int32_t[::1] its_class, const double[:, ::1] centre, const double[::1] reach):
    """(n,) standard deviations per axis, radians, of `rotations` (n, R, 4) about `centre` (n, 4).

    They count by their `weight` (n, R); those whose `classes` (n, R) are not `its_class` (n,), or not within `reach`
    (n,), radians, not at all.
    """
    cdef Py_ssize_t n = rotations.shape[0], i, r
    cdef double total, squares, cosine, square
    out = np.empty(n)
    cdef double[::1] view = out
    with nogil:
        for i in range(n):
            total = 0
            squares = 0
            for r in range(rotations.shape[1]):
                if weight[i, r] == 0 or classes[i, r] != its_class[i]:
                    continue
                cosine = fabs(rotations[i, r, 0] * centre[i, 0] + rotations[i, r, 1] * centre[i, 1]
                              + rotations[i, r, 2] * centre[i, 2] + rotations[i, r, 3] * centre[i, 3])
                square = 2.0 * acos(cosine if cosine < 1.0 else 1.0)
                square = square * square
                if square < reach[i] * reach[i]:
                    total += weight[i, r]
                    squares += weight[i, r] * square
            view[i] = spread(total, squares, 3)
    return out


def shift_spread(const double[:, ::1] weight, const double[:, :, ::1] shifts, const double[:, ::1] centre,
                 const double[::1] reach):
    """(n,) standard deviations per axis of `shifts` (n, T, 2) about `centre` (n, 2), with weights as of rotations."""
    cdef Py_ssize_t n = shifts.shape[0], i, t
    cdef double total, squares, dx, dy, square
    out = np.empty(n)
    cdef double[::1] view = out
    with nogil:
        for i in range(n):
            total = 0
            squares = 0
            for t in range(shifts.shape[1]):
                dx = shifts[i, t, 0] - centre[i, 0]
                dy = shifts[i, t, 1] - centre[i, 1]
                square = dx * dx + dy * dy
                if square < reach[i] * reach[i]:
                    total += weight[i, t]
                    squares += weight[i, t] * square
            view[i] = spread(total, squares, 2)
    return out


def mean_rotation(const double[:, ::1] weight, const double[:, :, ::1] rotations, const int32_t[:, ::1] classes,
                  const int32_t[::1] its_class, const double[:, ::1] centre, const double[::1] reach):
    """(n, 4) unit quaternion of the weighted mean of `rotations` (n, R, 4) within `reach` (n,), radians, of `centre`.

    Of those whose `classes` (n, R) are `its_class` (n,); `centre` (n, 4) itself where none of them has weight. Summed in
    one order: NumPy's depends on where arrays begin.
    """
    cdef Py_ssize_t n = rotations.shape[0], i, r, c
    cdef double cosine, least, w, length
    cdef double[4] total
    out = np.empty((n, 4))
    cdef double[:, ::1] view = out
    with nogil:
        for i in range(n):
            least = cos(0.5 * reach[i]) if reach[i] < M_PI else 0.0
            for c in range(4):
                total[c] = 0
            for r in range(rotations.shape[1]):
                if classes[i, r] != its_class[i]:
                    continue
                cosine = 0
                for c in range(4):
                    cosine += rotations[i, r, c] * centre[i, c]
                if fabs(cosine) < least:
                    continue
                # q and -q are the same rotation.
                w = weight[i, r] if cosine >= 0 else -weight[i, r]
                for c in range(4):
                    total[c] += w * rotations[i, r, c]
            length = 0
            for c in range(4):
                length += total[c] * total[c]
            length = sqrt(length)
            for c in range(4):
                view[i, c] = total[c] / length if length > 0 else centre[i, c]
    return out


def mean_shift(const double[:, ::1] weight, const double[:, :, ::1] shifts, const double[:, ::1] centre,
               const double[::1] reach):
    """(n, 2) the same of `shifts` (n, T, 2)."""
    cdef Py_ssize_t n = shifts.shape[0], i, t
    cdef double x, y, dx, dy, total
    out = np.empty((n, 2))
    cdef double[:, ::1] view = out
    with nogil:
        for i in range(n):
            x = 0
            y = 0
            total = 0
            for t in range(shifts.shape[1]):
                dx = shifts[i, t, 0] - centre[i, 0]
                dy = shifts[i, t, 1] - centre[i, 1]
                if dx * dx + dy * dy < reach[i] * reach[i]:
                    x += weight[i, t] * shifts[i, t, 0]
                    y += weight[i, t] * shifts[i, t, 1]
                    total += weight[i, t]
            view[i, 0] = x / total if total > 0 else centre[i, 0]
            view[i, 1] = y / total if total > 0 else centre[i, 1]
    return out
