"""Maps and accumulators of the two half-sets on their way between ranks and grids (method.md §6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pycryo.backprojector import Accumulators, fold_hermitian, new_accumulators
from pycryo.maps import Map, resample, soft_sphere
from pycryo.parallel.comm import Comm
from pycryo.projector import FourierVolume, fourier_volume, volume_radius
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


def to_roots(
    share: Share, pair: tuple[NDArray[np.float32], NDArray[np.float32]] | None, points: int
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Bring the references from rank 0 to the root of each half; None elsewhere."""
    here, there = share.roots
    rank = share.comm.rank
    first = None if pair is None else pair[0]
    second = None if pair is None or here != there else pair[1]
    if here != there and pair is not None:
        share.comm.send_array(np.ascontiguousarray(pair[1]), there)
    elif here != there and rank == there:
        second = np.empty((points,) * 3, np.float32)
        share.comm.receive_array(second, here)
    return first, second


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
    volume = fourier_volume(reference, padding=padding, r_high=_limit(points, r_high))
    volume.data[:] *= (box / points) ** 3
    return FourierVolume(volume.data, box, padding, volume.r_high)


def _limit(points: int, r_high: float) -> float:
    return min(r_high, points / 2 - 1)


@contextmanager
def shared_volume(
    comm: Comm, root: int, reference: NDArray[np.float32] | None, box: int, padding: int, r_high: float
) -> Iterator[FourierVolume]:
    """The padded transform of the reference that rank `root` of `comm` holds, once on each node. Collective.

    The first rank of each node gets the map and transforms it for all. After an error nothing is closed, for the other
    ranks would not take part.
    """
    points = comm.broadcast(None if reference is None else len(reference), root)
    assert points is not None
    limit = _limit(points, r_high)
    radius = volume_radius(padding, limit)
    node = comm.node()
    shared = node.shared_array((2 * radius + 1, 2 * radius + 1, radius + 1, 2), np.float32)
    received = _on_leaders(comm, node, root, reference, points)
    if received is not None:
        shared.array[:] = to_volume(received, box, padding, r_high).data
        del received
    shared.publish()
    yield FourierVolume(shared.array, box, padding, limit)
    shared.close()
    node.free()


def _on_leaders(
    comm: Comm, node: Comm, root: int, reference: NDArray[np.float32] | None, points: int
) -> NDArray[np.float32] | None:
    """The map of rank `root` on the first rank of each node; None elsewhere. Collective."""
    leaders = comm.split(0 if node.rank == 0 else None)
    if root != 0 and comm.rank == root:
        assert reference is not None
        comm.send_array(np.ascontiguousarray(reference), 0)
    if leaders is None:
        return None
    received = np.empty((points,) * 3, np.float32) if reference is None else np.ascontiguousarray(reference)
    if root != 0 and comm.rank == 0:
        comm.receive_array(received, root)
    leaders.broadcast_array(received)
    leaders.free()
    return received


def to_grid(source: Map, box: int, r_high: float) -> NDArray[np.float32]:
    """A map resampled to the grid that `grid_box` gives for `r_high`."""
    points = grid_box(box, r_high)
    return resample(source, points, source.pixel_size * source.box / points).data
