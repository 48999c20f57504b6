# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""Of many rotations: their matrices, the nearest of their symmetry mates, the nearest of others."""

import numpy as np

from libc.math cimport fabs
from libc.stdint cimport int64_t
from libc.stdlib cimport labs


def matrices(const double[:, ::1] quaternions):
    """(n, 3, 3) rotation matrices of (n, 4) unit quaternions."""
    cdef Py_ssize_t n = quaternions.shape[0], i
    cdef double w, x, y, z
    out = np.empty((n, 3, 3))
    cdef double[:, :, ::1] view = out
    with nogil:
        for i in range(n):
            w = quaternions[i, 0]
            x = quaternions[i, 1]
            y = quaternions[i, 2]
            z = quaternions[i, 3]
            view[i, 0, 0] = 1 - 2 * (y * y + z * z)
            view[i, 0, 1] = 2 * (x * y - w * z)
            view[i, 0, 2] = 2 * (x * z + w * y)
            view[i, 1, 0] = 2 * (x * y + w * z)
            view[i, 1, 1] = 1 - 2 * (x * x + z * z)
            view[i, 1, 2] = 2 * (y * z - w * x)
            view[i, 2, 0] = 2 * (x * z - w * y)
            view[i, 2, 1] = 2 * (y * z + w * x)
            view[i, 2, 2] = 1 - 2 * (x * x + y * y)
    return out


cdef void product(const double* a, const double* b, double* out) noexcept nogil:
    out[0] = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]
    out[1] = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2]
    out[2] = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1]
    out[3] = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0]


def nearest_mates(const double[:, :, ::1] quaternions, const double[:, ::1] anchors, const double[:, ::1] mates):
    """(n, m, 4): of the products of (n, m, 4) `quaternions` with the `mates` those nearest to the `anchors` (n, 4).

    The scalar product with the anchor is positive; of two that are as near the first mate counts.
    """
    cdef Py_ssize_t n = quaternions.shape[0], m = quaternions.shape[1], n_mate = mates.shape[0], i, j, k, c
    if anchors.shape[0] != n or quaternions.shape[2] != 4 or anchors.shape[1] != 4 or mates.shape[1] != 4:
        raise ValueError("expected (n, m, 4) quaternions, (n, 4) anchors and (any, 4) mates")
    out = np.empty((n, m, 4))
    cdef double[:, :, ::1] view = out
    cdef double mate[4]
    cdef double cosine, best, sign
    with nogil:
        for i in range(n):
            for j in range(m):
                best = -1.0
                for k in range(n_mate):
                    product(&quaternions[i, j, 0], &mates[k, 0], mate)
                    cosine = (mate[0] * anchors[i, 0] + mate[1] * anchors[i, 1]) + (
                        mate[2] * anchors[i, 2] + mate[3] * anchors[i, 3])
                    if fabs(cosine) > best:
                        best = fabs(cosine)
                        sign = -1.0 if cosine < 0 else 1.0
                        for c in range(4):
                            view[i, j, c] = sign * mate[c]
    return out


def nearest_points(const double[:, ::1] points, const int64_t[::1] first, Py_ssize_t side, const double[:, ::1] others):
    """(m,) the nearest of (n, 4) points to each of (m, 4) others, by its number.

    The points are sorted by cells of a cube about the unit ball that their last three numbers lie in, `side` along each
    axis: those of cell i are ``first[i]`` to ``first[i + 1] - 1``.
    """
    cdef Py_ssize_t n = points.shape[0], m = others.shape[0], i, j, k, best, x, y, z, ring
    cdef Py_ssize_t at[3]
    cdef double distance, least, width = 2.0 / side
    if points.shape[1] != 4 or others.shape[1] != 4 or first.shape[0] != side**3 + 1 or first[side**3] != n or n == 0:
        raise ValueError("expected (n, 4) points, (side³ + 1,) their cells and (m, 4) others")
    out = np.empty(m, np.int64)
    cdef int64_t[::1] view = out
    with nogil:
        for i in range(m):
            for k in range(3):
                at[k] = min(max(<Py_ssize_t>((others[i, k + 1] + 1) / width), 0), side - 1)
            best, least, ring = -1, 1e300, 0
            # What is further away than this ring of cells is further away than it is wide.
            while best < 0 or least > (ring - 1) * width * (ring - 1) * width:
                for x in range(max(at[0] - ring, 0), min(at[0] + ring + 1, side)):
                    for y in range(max(at[1] - ring, 0), min(at[1] + ring + 1, side)):
                        for z in range(max(at[2] - ring, 0), min(at[2] + ring + 1, side)):
                            if max(labs(x - at[0]), labs(y - at[1]), labs(z - at[2])) < ring:
                                continue
                            k = (x * side + y) * side + z
                            for j in range(first[k], first[k + 1]):
                                distance = (points[j, 0] - others[i, 0]) ** 2 + (points[j, 1] - others[i, 1]) ** 2 + (
                                    points[j, 2] - others[i, 2]) ** 2 + (points[j, 3] - others[i, 3]) ** 2
                                if distance < least:
                                    best, least = j, distance
                ring += 1
            view[i] = best
    return out
