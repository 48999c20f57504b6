"""Density maps whose planes are dealt to ranks: to and from whole maps, other grids, filters."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.fourier import fft, ifft, irfft2, rfft2
from pycryo.maps import density
from pycryo.maps.density import Map
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.rows import Bounds, even_bounds, gather_rows, move_rows
from pycryo.parallel.slabs.slab_fft import SlabFft
from pycryo.threads import get_threads


@dataclass(frozen=True, slots=True)
class SlabMap:
    """A cubic density map, its origin at voxel ``box // 2``, of which each rank holds some planes.

    Attributes
    ----------
    comm : Comm
    data : (n_plane, box, box) float32
        Density at z = bounds[rank] ... bounds[rank + 1] - 1, axes (z, y, x).
    pixel_size : float
        Edge of a voxel, Å.
    """

    comm: Comm
    data: NDArray[np.float32]
    pixel_size: float

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or self.data.shape != (len(self.numbers), self.box, self.box):
            raise ValueError(f"data: expected this rank's planes of a cube, got shape {self.data.shape}")

    @property
    def box(self) -> int:
        """Voxels along an edge."""
        return int(self.data.shape[1])

    @property
    def bounds(self) -> Bounds:
        """(comm.size + 1,) first planes of the ranks, and their end."""
        return even_bounds(self.box, self.comm.size)

    @property
    def numbers(self) -> range:
        """z of this rank's planes."""
        return _numbers(self.comm, self.box)


def _numbers(comm: Comm, box: int) -> range:
    bounds = even_bounds(box, comm.size)
    return range(int(bounds[comm.rank]), int(bounds[comm.rank + 1]))


def from_map(comm: Comm, source: Map) -> SlabMap:
    """This rank's planes (a view) of a map that every rank has."""
    numbers = _numbers(comm, source.box)
    return SlabMap(comm, source.data[numbers.start : numbers.stop], source.pixel_size)


def from_root(comm: Comm, source: Map | None, root: int = 0) -> SlabMap:
    """Deal the planes of a map that rank `root` has (None elsewhere). Collective."""
    box, pixel_size = comm.broadcast((0, 0.0) if source is None else (source.box, source.pixel_size), root)
    have = np.where(np.arange(comm.size + 1) > root, box, 0)
    planes = np.empty((0, box, box), np.float32) if source is None or comm.rank != root else source.data
    return SlabMap(comm, move_rows(comm, planes, have, even_bounds(box, comm.size)), pixel_size)


def gather(source: SlabMap, root: int = 0) -> Map | None:
    """The whole map on rank `root`, None elsewhere. Collective."""
    data = gather_rows(source.comm, source.data, source.bounds, root)
    return None if data is None else Map(data, source.pixel_size)


def alone(*maps: SlabMap) -> list[SlabMap]:
    """The whole maps on rank 0, as those of a single process; none elsewhere. Collective."""
    return [from_map(SerialComm(), each) for each in map(gather, maps) if each is not None]


def everywhere(source: SlabMap) -> Map:
    """The whole map on every rank. Collective."""
    data = np.empty((source.box,) * 3, np.float32)
    data[source.numbers.start : source.numbers.stop] = source.data
    source.comm.gather_parts(data, source.bounds.tolist())
    return Map(data, source.pixel_size)


def soft_sphere(comm: Comm, box: int, radius_px: float, edge_px: float, pixel_size: float) -> SlabMap:
    """`pycryo.maps.density.soft_sphere` on planes."""
    return SlabMap(comm, density.soft_sphere(box, radius_px, edge_px, _numbers(comm, box)), pixel_size)


def low_pass(source: SlabMap, resolution: float, *, edge_px: float = 2.0) -> SlabMap:
    """`pycryo.maps.density.low_pass` on planes. Collective."""
    planes = density.low_pass_planes(source.comm, source.data, source.pixel_size, resolution, edge_px=edge_px)
    return replace(source, data=planes)


def resample_grid(source: SlabMap, box: int) -> SlabMap:
    """The same field of view on a grid of `box` points, as `pycryo.maps.density.resample` has it. Collective.

    Done by transforms, in single precision: box³ log(box) instead of box⁴ operations.
    """
    n = source.box
    if box == n:
        return source
    band = _Band(n, box)
    pixel_size = source.pixel_size * n / box
    kept: dict[int, NDArray[np.complex64]] = {}
    before = SlabFft(
        source.comm, n, place=band.rows % n, widths=band.widths, extent=(-(n // 2), n - n // 2), double=False
    )
    offset = before.plane_numbers.start

    def fill(number: int, points: NDArray[np.float32]) -> None:
        points[:] = np.fft.ifftshift(source.data[number - offset])

    before.fill_planes(fill)
    band.fold(before.planes.transpose(1, 0, 2))

    def take(row: int, samples: NDArray[np.complex64]) -> None:
        kept[row] = band.move(samples) * np.float32(band.share(row))

    before.store(take)
    del before
    after = SlabFft(
        source.comm, box, place=band.rows % box, widths=band.widths, extent=(-(box // 2), box - box // 2), double=False
    )
    after.load(lambda row, samples: np.copyto(samples, kept.pop(row)))
    first = after.plane_numbers.start
    data = np.empty((len(after.plane_numbers), box, box), np.float32)
    inside = band.inside

    def finish(number: int, points: NDArray[np.float32]) -> None:
        plane = np.fft.fftshift(points) * np.float32(1 / n**3)
        plane *= inside[:, None] & inside & inside[number + box // 2]
        data[number - first] = plane

    after.on_planes(finish, back=False)
    return SlabMap(source.comm, data, pixel_size)


class _Band:
    """The frequencies that grids of n and m points have in common, and how they pass from one to the other.

    The highest one of an even grid, Nyquist, stands for two: to a finer grid half of it goes to either side, from a
    finer grid it is the mean of both sides.

    Attributes
    ----------
    rows : (n_row,) int64
        The frequencies, ascending.
    widths : (n_row,) int64
        How many of them are not negative, for each row.
    """

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m = n, m
        self.nyquist = min(n, m) // 2 if min(n, m) % 2 == 0 else None
        most = min(n, m) // 2
        least = 1 - most if self.nyquist is not None and m < n else -most
        self.rows = np.arange(least, most + 1)
        self.widths = np.full(len(self.rows), most + 1)

    def share(self, row: int) -> float:
        """Factor of a row on its way to the other grid."""
        return 0.5 if self.m > self.n and abs(int(self.rows[row])) == self.nyquist else 1.0

    def fold(self, samples: NDArray[np.complex64]) -> None:
        """To a coarser grid: make the samples (n, ...) at its Nyquist frequency the mean of both sides, in place."""
        if self.nyquist is not None and self.m < self.n:
            samples[self.nyquist] += samples[-self.nyquist]
            samples[self.nyquist] *= 0.5

    def move(self, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """(m, width) samples of the other grid for the (n, width) of a row, axes (z, x)."""
        self.fold(samples)
        moved = np.zeros((self.m, samples.shape[1]), samples.dtype)
        moved[self.rows % self.m] = samples[self.rows % self.n]
        if self.nyquist is not None and self.m > self.n:
            moved[[self.nyquist, -self.nyquist]] *= np.float32(0.5)
            moved[:, self.nyquist] *= np.float32(0.5)
        return moved

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(m,) which points of the other grid lie within the voxels of this one."""
        at = (np.arange(self.m) - self.m // 2) * self.n
        return np.asarray((at >= -(self.n // 2) * self.m) & (at <= (self.n - 1 - self.n // 2) * self.m))


def inverted(source: SlabMap) -> SlabMap:
    """The map of the other hand, V(-r). Collective."""
    comm, box, bounds, numbers = source.comm, source.box, source.bounds, source.numbers
    across = (2 * (box // 2) - np.arange(box)) % box
    flipped = source.data[:, across][:, :, across]
    owner = np.searchsorted(bounds, np.arange(box), side="right") - 1
    mine = np.arange(numbers.start, numbers.stop)
    result = np.empty_like(source.data)
    outgoing, incoming = {}, {}
    for rank in range(comm.size):
        theirs = np.arange(bounds[rank], bounds[rank + 1])
        asked = across[theirs][owner[across[theirs]] == comm.rank] - numbers.start
        wanted = np.flatnonzero(owner[across[mine]] == rank)
        if rank == comm.rank:
            result[wanted] = flipped[asked]
            continue
        if len(asked):
            outgoing[rank] = np.ascontiguousarray(flipped[asked])
        if len(wanted):
            incoming[rank] = np.empty((len(wanted), box, box), np.float32)
    comm.swap(outgoing, incoming)
    for rank, planes in incoming.items():
        result[owner[across[mine]] == rank] = planes
    return replace(source, data=result)


def join_low_resolution(first: SlabMap, second: SlabMap, shells: float) -> tuple[SlabMap, SlabMap]:
    """Give both maps the mean of their Fourier components below `shells`, so that they keep one orientation.

    Collective; only the components below `shells` of half the difference of the maps travel.
    """
    box = first.box
    line = np.rint(np.fft.fftfreq(box, 1 / box)).astype(np.int64)
    ky = np.flatnonzero(np.abs(line) < shells)
    kx = np.flatnonzero(np.arange(box // 2 + 1) < shells)
    low = np.zeros((box, len(ky), len(kx)), np.complex64)
    if low.size == 0:
        return first, second
    numbers = first.numbers

    def forward(number: int) -> None:
        index = number - numbers.start
        difference = np.float32(0.5) * (second.data[index] - first.data[index])
        low[number] = rfft2(difference)[np.ix_(ky, kx)]

    _each(forward, numbers)
    first.comm.gather_parts(low, first.bounds.tolist())
    low = fft(low, axis=0, overwrite=True)
    low[np.square(line)[:, None, None] + np.square(line[ky])[:, None] + np.square(kx) >= shells**2] = 0
    low = ifft(low, axis=0, overwrite=True)
    joined = (np.empty_like(first.data), np.empty_like(second.data))

    def back(number: int) -> None:
        index = number - numbers.start
        plane = np.zeros((box, box // 2 + 1), np.complex64)
        plane[np.ix_(ky, kx)] = low[number]
        change = irfft2(plane, box)
        np.add(first.data[index], change, out=joined[0][index])
        np.subtract(second.data[index], change, out=joined[1][index])

    _each(back, numbers)
    return replace(first, data=joined[0]), replace(second, data=joined[1])


def _each(work: Callable[[int], None], numbers: range) -> None:
    """Call `work` for each plane, by several threads."""
    with ThreadPoolExecutor(get_threads()) as pool:
        list(pool.map(work, numbers))
