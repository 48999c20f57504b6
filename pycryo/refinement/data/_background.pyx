# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=c
"""What is done to the pixels of an image, and to its Fourier samples, before it is compared."""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport NAN, fabs, fabsf
from libc.stdint cimport int32_t, int64_t
from libcpp.algorithm cimport nth_element, sort


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


cdef void moments_of(
    const float* image, const int32_t* left, const int32_t* right, Py_ssize_t box, double* out
) noexcept nogil:
    cdef Py_ssize_t half = box // 2, y, x
    cdef const float* row
    cdef float value, low = image[0], high = image[0]
    cdef double total = 0.0, square = 0.0, around = 0.0, along_x = 0.0, along_y = 0.0, of_row, squares_of_row
    cdef double around_of_row
    for y in range(box):
        row = image + y * box
        of_row = squares_of_row = around_of_row = 0.0
        for x in range(box):
            value = row[x]
            low = value if value < low else low
            high = value if value > high else high
            of_row += value
            squares_of_row += <double>value * value
        for x in range(left[y]):
            around_of_row += row[x]
            along_x += <double>row[x] * (x - half)
        for x in range(right[y], box):
            around_of_row += row[x]
            along_x += <double>row[x] * (x - half)
        total += of_row
        square += squares_of_row
        around += around_of_row
        along_y += around_of_row * (y - half)
    out[0] = total
    out[1] = square
    out[2] = low
    out[3] = high
    out[4] = around
    out[5] = along_x
    out[6] = along_y


def moments(const float[:, :, ::1] images, const int32_t[::1] left, const int32_t[::1] right, int threads):
    """(n, 7) sum, sum of squares, least and largest pixel of images (n, N, N); sums of v, v x, v y of what is around.

    Around are the pixels of row y before `left[y]` and from `right[y]` on; x and y count from the centre pixel.
    """
    cdef Py_ssize_t n = images.shape[0], box = images.shape[1], i
    if images.shape[2] != box or box == 0 or left.shape[0] != box or right.shape[0] != box:
        raise ValueError(f"expected square images and limits of each row, got {box} x {images.shape[2]} px")
    if np.min(left) < 0 or np.max(left) > box or np.min(right) < 0:
        raise ValueError("limits of a row are outside of it")
    out = np.empty((n, 7))
    cdef double[:, ::1] view = out
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        moments_of(&images[i, 0, 0], &left[0], &right[0], box, &view[i, 0])
    return out


# Values of which a sample brackets the median, and how far from its middle: five standard deviations of its rank.
cdef enum:
    SAMPLE = 256
    BESIDE = 40


cdef double median_of(double* values, Py_ssize_t count, double* near) noexcept nogil:
    # Changes their order; `near` has room for as many.
    cdef double sample[SAMPLE]
    cdef double low, high
    cdef Py_ssize_t k, below = 0, found = 0
    if count >= 8 * SAMPLE:
        for k in range(SAMPLE):
            sample[k] = values[k * count // SAMPLE]
        sort(sample, sample + SAMPLE)
        low = sample[SAMPLE // 2 - BESIDE]
        high = sample[SAMPLE // 2 + BESIDE]
        for k in range(count):
            below += values[k] < low
            near[found] = values[k]
            found += (values[k] >= low) & (values[k] <= high)
        if below < (count - 1) // 2 and below + found > count // 2:
            return middle_of(near, found, count // 2 - below, count % 2)
    return middle_of(values, count, count // 2, count % 2)


cdef double middle_of(double* values, Py_ssize_t count, Py_ssize_t half, bint is_odd) noexcept nogil:
    cdef Py_ssize_t k
    cdef double lower
    nth_element(values, values + half, values + count)
    if is_odd:
        return values[half]
    lower = values[0]
    for k in range(1, half):
        lower = values[k] if values[k] > lower else lower
    return 0.5 * (lower + values[half])


cdef void ramp_of(
    const float* image, const int32_t* around, const double* x, const double* y, Py_ssize_t count, int rounds,
    double reach, double* memory, double* out
) noexcept nogil:
    cdef double* value = memory
    cdef double* away = memory + count
    cdef double* ordered = memory + 2 * count
    cdef double start, level = 0.0, along_x = 0.0, along_y = 0.0, limit, det
    cdef double n, sx, sy, sxx, sxy, syy, sv, sxv, syv, cx, cy, dxx, dxy, dyy, dxv, dyv, keep
    cdef Py_ssize_t k
    for k in range(count):
        value[k] = image[around[k]]
        ordered[k] = value[k]
    start = median_of(ordered, count, away)
    for k in range(count):
        value[k] -= start
    for _ in range(rounds):
        for k in range(count):
            away[k] = fabs(value[k] - level - along_x * x[k] - along_y * y[k])
            ordered[k] = away[k]
        limit = reach * median_of(ordered, count, memory + 3 * count)
        n = sx = sy = sxx = sxy = syy = sv = sxv = syv = 0.0
        for k in range(count):
            keep = 1.0 if away[k] <= limit else 0.0
            n += keep
            sx += keep * x[k]
            sy += keep * y[k]
            sxx += keep * x[k] * x[k]
            sxy += keep * x[k] * y[k]
            syy += keep * y[k] * y[k]
            sv += keep * value[k]
            sxv += keep * x[k] * value[k]
            syv += keep * y[k] * value[k]
        cx = sx / n
        cy = sy / n
        dxx = sxx - cx * sx
        dxy = sxy - cx * sy
        dyy = syy - cy * sy
        dxv = sxv - cx * sv
        dyv = syv - cy * sv
        det = dxx * dyy - dxy * dxy
        if not det > 1e-6 * dxx * dyy:
            out[0] = out[1] = NAN
            return
        along_x = (dxv * dyy - dyv * dxy) / det
        along_y = (dyv * dxx - dxv * dxy) / det
        level = sv / n - along_x * cx - along_y * cy
    out[0] = along_x
    out[1] = along_y


def ramps(
    const float[:, :, ::1] images, const int64_t[::1] chosen, const int32_t[::1] around, const double[::1] x,
    const double[::1] y, int rounds, double reach, int threads
):
    """(n, 2) slopes along x and y of the images `chosen` (n,), fitted to their pixels `around`, at `x` and `y`.

    In each round to those at most `reach` median absolute deviations from the fit before; NaN if they are on a line.
    """
    cdef Py_ssize_t n = chosen.shape[0], box = images.shape[1], count = around.shape[0], i
    if images.shape[2] != box or count == 0 or np.min(around) < 0 or np.max(around) >= box * box:
        raise ValueError(f"expected square images and pixels within, got {box} x {images.shape[2]} px")
    if x.shape[0] != count or y.shape[0] != count or rounds < 1 or threads < 1:
        raise ValueError(f"expected places of {count} pixels, rounds and threads")
    if n and (np.min(chosen) < 0 or np.max(chosen) >= images.shape[0]):
        raise ValueError(f"chosen: expected numbers of {images.shape[0]} images")
    out = np.empty((n, 2))
    cdef double[:, ::1] view = out
    cdef double[:, ::1] memory = np.empty((threads, 4 * count))
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        ramp_of(
            &images[chosen[i], 0, 0], &around[0], &x[0], &y[0], count, rounds, reach, &memory[threadid(), 0], &view[i, 0]
        )
    return out


cdef int64_t count_of(const float* image, Py_ssize_t size, float centre, float reach) noexcept nogil:
    cdef Py_ssize_t k
    cdef int32_t found = 0
    for k in range(size):
        found += fabsf(image[k] - centre) >= reach
    return found


def count_beyond(
    const float[:, :, ::1] images, const int64_t[::1] chosen, const float[::1] centre, const float[::1] reach, int threads
):
    """(n,) pixels of the images `chosen` (n,) that are `reach` (n,) or more from `centre` (n,)."""
    cdef Py_ssize_t n = chosen.shape[0], size = images.shape[1] * images.shape[2], i
    if centre.shape[0] != n or reach.shape[0] != n:
        raise ValueError(f"expected centre and reach of {n} images, got {centre.shape[0]} and {reach.shape[0]}")
    if n and (size == 0 or np.min(chosen) < 0 or np.max(chosen) >= images.shape[0]):
        raise ValueError(f"chosen: expected numbers of {images.shape[0]} images")
    out = np.empty(n, np.int64)
    cdef int64_t[::1] view = out
    for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
        view[i] = count_of(&images[chosen[i], 0, 0], size, centre[i], reach[i])
    return out


cdef void weigh_row(float* re, float* im, const float* gain, const int32_t* shell, const float* transfer,
                    float amplitude, bint is_premultiplied, Py_ssize_t m, float* weight) noexcept nogil:
    # `weight` may be `transfer`.
    cdef Py_ssize_t j
    cdef float its_gain, ctf, weighted, factor
    for j in range(m):
        its_gain = gain[shell[j]]
        ctf = transfer[j]
        weighted = its_gain * ctf * amplitude
        factor = its_gain * amplitude if is_premultiplied else weighted
        re[j] *= factor
        im[j] *= factor
        weight[j] = weighted * ctf * amplitude


def weigh(float[:, :, ::1] samples, const float[:, ::1] gain, const int32_t[::1] shell, float[:, ::1] transfer,
          const float[::1] amplitude, bint is_premultiplied, int threads):
    """Multiply the samples (n, 2, m) by gain · CTF · amplitude, and the CTF `transfer` (n, m) by the same once more.

    That makes their weights of it. `gain` (n, n_shell) is that of each image's shells, `shell` (m,) those of the
    samples. The samples of images that were multiplied by their CTF get gain · amplitude only.
    """
    cdef Py_ssize_t n = samples.shape[0], m = samples.shape[2], i
    if samples.shape[1] != 2 or shell.shape[0] != m or transfer.shape[0] != n or transfer.shape[1] != m:
        raise ValueError(f"expected samples and CTF of {n} images, {m} samples each")
    if gain.shape[0] != n or amplitude.shape[0] != n or m and not 0 <= np.min(shell) <= np.max(shell) < gain.shape[1]:
        raise ValueError(f"expected gains and amplitudes of {n} images, gains of all shells")
    if m > 0:
        for i in prange(n, nogil=True, num_threads=threads, schedule="static"):
            weigh_row(&samples[i, 0, 0], &samples[i, 1, 0], &gain[i, 0], &shell[0], &transfer[i, 0], amplitude[i],
                      is_premultiplied, m, &transfer[i, 0])
