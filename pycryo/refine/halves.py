"""Maps and accumulators of the two half-sets on their way between ranks and grids (method.md §6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.backprojector import Accumulators, fold_hermitian, new_accumulators
from pycryo.maps import Map, resample, soft_sphere
from pycryo.parallel.comm import Comm
from pycryo.projector import FourierVolume, fourier_volume
from pycryo.refine.dataset import Share
from pycryo.refine.gridding import grid_box


def sum_accumulators(accumulators: Accumulators, comm: Comm) -> None:
    """Sum over the ranks of a half-set and fold; every rank gets the sum. Collective."""
    for volume in (accumulators.re, accumulators.im, accumulators.weight):
        comm.sum_array(volume)
    fold_hermitian(accumulators)


def both_halves(share: Share, first: Accumulators | None, second: Accumulators | None) -> Accumulators | None:
    """F and T of all data, on the root of half 1 (None elsewhere): the root of half 2 sends its own."""
    here, there = share.roots
    if here == there:
        assert first is not None
        assert second is not None
        return _added(first, second)
    if share.comm.rank == there:
        assert second is not None
        for volume in (second.re, second.im, second.weight):
            share.comm.send_array(volume, here)
    if share.comm.rank != here:
        return None
    assert first is not None
    received = new_accumulators(first.box, padding=first.padding, r_high=first.r_high)
    for volume in (received.re, received.im, received.weight):
        share.comm.receive_array(volume, there)
    return _added(first, received)


def _added(a: Accumulators, b: Accumulators) -> Accumulators:
    return Accumulators(a.re + b.re, a.im + b.im, a.weight + b.weight, a.box, a.padding, a.r_high)


def pair_of_maps(
    share: Share, maps: tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Both half-maps on rank 0 (None elsewhere); each root brings its own."""
    here, there = share.roots
    first, second = maps
    if here == there:
        assert first is not None
        assert second is not None
        return first, second
    if share.comm.rank == there:
        assert second is not None
        share.comm.send_array(np.ascontiguousarray(second), here)
    if share.comm.rank != here:
        return None
    assert first is not None
    received = np.empty_like(first)
    share.comm.receive_array(received, there)
    return first, received


def to_ranks_of_halves(
    share: Share, pair: tuple[NDArray[np.float32], NDArray[np.float32]] | None, points: int
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Bring the references from rank 0 to the ranks that hold particles of each half. Collective."""
    here, there = share.roots
    result: list[NDArray[np.float32] | None] = [None, None]
    for half in (0, 1):
        comm = share.half_comm[half]
        reference = np.empty((points,) * 3, np.float32)
        if pair is not None:
            reference[:] = pair[half]
        if half == 1 and here != there:
            if share.comm.rank == here:
                share.comm.send_array(reference, there)
            elif share.comm.rank == there:
                share.comm.receive_array(reference, here)
        if comm is not None:
            # The root is the first rank of half 1's group and the last of half 2's.
            comm.broadcast_array(reference, root=0 if half == 0 else comm.size - 1)
            result[half] = reference
    return result[0], result[1]


def join_low_resolution(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]], shells: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give both maps the mean of their Fourier components below `shells`, so that they keep one orientation."""
    import scipy.fft

    points = len(pair[0])
    line = np.fft.fftfreq(points, 1 / points)
    half = np.arange(points // 2 + 1)
    low = line[:, None, None] ** 2 + line[None, :, None] ** 2 + half**2 < shells**2
    transforms = [scipy.fft.rfftn(each) for each in pair]
    mean = 0.5 * (transforms[0] + transforms[1])
    joined = []
    for each in transforms:
        each[low] = mean[low]
        joined.append(np.asarray(scipy.fft.irfftn(each, s=(points,) * 3), np.float32))
    return joined[0], joined[1]


def solvent_mask(points: int, field_of_view: float, diameter: float, user_mask: Map | None) -> NDArray[np.float32]:
    """(points)³ mask of the references: the user's, else a soft sphere of the particle's diameter."""
    pixel = field_of_view / points
    if user_mask is not None:
        return np.clip(resample(user_mask, points, pixel).data, 0, 1)
    edge = max(2.0, 0.06 * points)
    return soft_sphere(points, min(0.5 * diameter / pixel, points / 2 - edge), edge)


def to_volume(reference: NDArray[np.float32], box: int, padding: int, r_high: float) -> FourierVolume:
    """Padded transform of a reference of any sampling of the field of view, on the scale of `box` px images."""
    points = len(reference)
    volume = fourier_volume(reference, padding=padding, r_high=min(r_high, points / 2 - 1))
    volume.data[:] *= (box / points) ** 3
    return FourierVolume(volume.data, box, padding, volume.r_high)


def to_grid(source: Map, box: int, r_high: float) -> NDArray[np.float32]:
    """A map resampled to the grid that `grid_box` gives for `r_high`."""
    points = grid_box(box, r_high)
    return resample(source, points, source.pixel_size * source.box / points).data
