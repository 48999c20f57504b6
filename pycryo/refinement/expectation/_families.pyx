# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""From the coarse poses that are left of an image to the fine ones it needs."""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset


cdef struct Scans:
    Py_ssize_t n_coarse, n_fine, n_coarse_shift, n_fine_shift, cell
    const int64_t* first
    const int64_t* family
    const uint8_t* near


cdef void mark(const int64_t* pose, Py_ssize_t count, const Scans* scans, uint8_t* cells,
               uint8_t* shifts) noexcept nogil:
    cdef Py_ssize_t k, j, item, number, rotation
    cdef const uint8_t* near
    for k in range(count):
        item = pose[k] // scans.n_coarse_shift
        near = scans.near + pose[k] % scans.n_coarse_shift * scans.n_fine_shift
        number = item // scans.n_coarse
        rotation = item % scans.n_coarse
        for j in range(scans.first[rotation], scans.first[rotation + 1]):
            cells[(number * scans.n_fine + scans.family[j]) // scans.cell] = 1
        for j in range(scans.n_fine_shift):
            shifts[j] |= near[j]


def mark_families(const int64_t[:, ::1] poses, const int64_t[::1] counts, const int64_t[::1] first,
                  const int64_t[::1] family, const uint8_t[:, ::1] near_shifts, int n_class, int n_fine, int cell,
                  int threads):
    """Cells of `cell` slices (n, n_cell), and fine shifts (n, n_fine_shift), that n images need: 0 or 1.

    Of the first `counts` (n,) of the `poses` (n, m), item·n_coarse_shift + shift with item = class·n_coarse + rotation.
    The fine rotations family[first[r]:first[r + 1]] belong to a coarse one r, and the fine shifts near_shifts[t] != 0
    to a coarse one t. An image needs everything if counts is m.
    """
    cdef Py_ssize_t n = poses.shape[0], m = poses.shape[1], i
    cdef Py_ssize_t n_cell = (<Py_ssize_t>n_class * n_fine + cell - 1) // cell
    cdef Scans scans
    scans.n_coarse = first.shape[0] - 1
    scans.n_fine = n_fine
    scans.n_coarse_shift = near_shifts.shape[0]
    scans.n_fine_shift = near_shifts.shape[1]
    scans.cell = cell
    if np.min(poses, initial=0, where=np.arange(m) < np.asarray(counts)[:, None]) < 0 or (
            np.max(poses, initial=0) >= n_class * scans.n_coarse * scans.n_coarse_shift):
        raise ValueError("poses: a number is out of range")
    scans.first = &first[0]
    scans.family = &family[0]
    scans.near = &near_shifts[0, 0]
    cells, shifts = np.zeros((n, n_cell), np.uint8), np.zeros((n, near_shifts.shape[1]), np.uint8)
    cdef uint8_t[:, ::1] to_cells = cells, to_shifts = shifts
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        if counts[i] == m:
            memset(&to_cells[i, 0], 1, n_cell)
            memset(&to_shifts[i, 0], 1, scans.n_fine_shift)
        else:
            mark(&poses[i, 0], counts[i], &scans, &to_cells[i, 0], &to_shifts[i, 0])
    return cells, shifts
