"""The reference as the search reads it: its padded transform, once on each node, made of planes on all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.projector import FourierVolume, volume_radius
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import even_bounds
from pycryo.parallel.slabs.slab_fft import SlabFft
from pycryo.threads import get_threads

# Bytes of the layers that travel together, at most (but one layer always).
_MESSAGE_BYTES = 32 << 20

Samples = NDArray[np.complex64]


@contextmanager
def shared_volume(comm: Comm, reference: SlabMap, box: int, padding: int, r_high: float) -> Iterator[FourierVolume]:
    """The padded transform of a reference of any sampling of the field of view, on the scale of `box` px images.

    It is `pycryo.kernels.projector.fourier_volume` of the map, times (box/points)³, where samples with |k| < r_high
    read it; further out it may be zero. Collective: all ranks make it, those of a node share it. After an error
    nothing is closed, for the other ranks would not take part.

    Parameters
    ----------
    comm : Comm
        That of `reference`.
    reference : SlabMap
    box : int
        Of the images, px.
    padding : int
    r_high : float
        Frequency limit, Fourier px; lowered to what the sampling of the reference holds.
    """
    points = reference.box
    limit = min(r_high, points / 2 - 1)
    layers = _Layers(volume_radius(padding, limit))
    node = comm.node()
    shape = (layers.n, layers.n, layers.radius + 1)
    shared = node.shared_array(shape, np.complex64)
    packed = _Packed(layers, comm) if comm.size > 1 else None

    def put(layer: int, samples: Samples) -> None:
        if packed is not None:
            packed.put(layer, samples)
        else:
            layers.put(layer, samples, shared.array)

    _transform(reference, layers, padding, (box / points) ** 3, put)
    if packed is not None:
        packed.collect(node, shared.array)
        del packed
    shared.publish()
    yield FourierVolume(shared.array.view(np.float32).reshape(*shape, 2), box, padding, limit)
    shared.close()
    node.free()


@dataclass(frozen=True, slots=True)
class _Layers:
    """Layers y = -r ... r of a half volume; of each the samples |z|, x ≤ reach are kept, a rectangle about the sphere.

    Attributes
    ----------
    radius : int
        r, padded Fourier px.
    """

    radius: int

    @property
    def n(self) -> int:
        """How many there are."""
        return 2 * self.radius + 1

    def reach(self, layer: int) -> int:
        """Largest |z| and x of a layer, 0 ≤ layer < n: neighbours of samples are at most r + 1.23 from the centre."""
        y = layer - self.radius
        return min(self.radius, int(np.sqrt((self.radius + 1.25) ** 2 - y * y)))

    def shape(self, layer: int) -> tuple[int, int]:
        """Of the samples of a layer, axes (z, x)."""
        reach = self.reach(layer)
        return 2 * reach + 1, reach + 1

    def put(self, layer: int, samples: Samples, volume: Samples) -> None:
        """Write the samples of a layer into a volume (z, y, x), and zeros around them."""
        reach = self.reach(layer)
        low, high = self.radius - reach, self.radius + reach + 1
        volume[:low, layer] = 0
        volume[high:, layer] = 0
        volume[low:high, layer, : reach + 1] = samples
        volume[low:high, layer, reach + 1 :] = 0


def _transform(
    reference: SlabMap, layers: _Layers, padding: int, scale: float, put: Callable[[int, Samples], None]
) -> None:
    """Transform a map divided by sinc² and padded with zeros; `put` gets this rank's layers. Collective."""
    points = reference.box
    centre, padded = points // 2, padding * points
    correction = 1 / np.sinc((np.arange(points) - centre) / padded) ** 2
    fft = SlabFft(
        reference.comm,
        padded,
        place=np.arange(-layers.radius, layers.radius + 1) % padded,
        widths=np.array([layers.reach(layer) + 1 for layer in range(layers.n)]),
        extent=(-centre, points - centre),
        double=False,
    )
    index = np.arange(-centre, points - centre)

    def fill(number: int, plane: NDArray[np.float32]) -> None:
        values = reference.data[number - fft.plane_numbers.start] * correction
        values *= correction[:, None] * (scale * correction[number + centre])
        plane[np.ix_(index, index)] = values

    def take(layer: int, found: Samples) -> None:
        samples = np.zeros(layers.shape(layer), np.complex64)
        reach = layers.reach(layer)
        # With padding 1 and an odd box the last x is beyond the transform, and beyond what samples read.
        samples[:, : found.shape[1]] = found[np.arange(-reach, reach + 1) % padded]
        put(layer, samples)

    fft.fill_planes(fill)
    fft.store(take)


class _Packed:
    """This rank's layers, one after the other, on their way to the first rank of each node.

    Parameters
    ----------
    layers : _Layers
    comm : Comm
    """

    def __init__(self, layers: _Layers, comm: Comm) -> None:
        self._layers, self._comm = layers, comm
        self._bounds = even_bounds(layers.n, comm.size).tolist()
        sizes = [n_z * n_x for n_z, n_x in map(layers.shape, range(layers.n))]
        self._start = [0, *accumulate(sizes)]
        self._first = self._bounds[comm.rank]
        self._own = self._buffer(self._first, self._bounds[comm.rank + 1])

    def put(self, layer: int, samples: Samples) -> None:
        """Keep a layer of this rank."""
        self._layer(self._own, self._first, layer)[:] = samples

    def collect(self, node: Comm, volume: Samples) -> None:
        """Write the layers of all ranks into the volume of each node, by its first rank. Collective."""
        leader_of = self._comm.all_gather(node.broadcast(self._comm.rank))
        leaders = self._comm.split(0 if node.rank == 0 else None)
        order = sorted(set(leader_of))
        with ThreadPoolExecutor(get_threads()) as pool:
            for owner, leader in enumerate(leader_of):
                for first, last in self._pieces(owner):
                    piece = self._to_leader(owner, leader, first, last)
                    if leaders is None:
                        continue
                    leaders.broadcast_array(piece, order.index(leader))

                    def write(layer: int, first: int = first, piece: Samples = piece) -> None:
                        self._layers.put(layer, self._layer(piece, first, layer), volume)

                    list(pool.map(write, range(first, last)))
        if leaders is not None:
            leaders.free()

    def _to_leader(self, owner: int, leader: int, first: int, last: int) -> Samples:
        """Layers first ... last - 1 on their owner, which sends them to the first rank of its node, and there.

        On the other ranks: an array for them.
        """
        rank = self._comm.rank
        if rank == owner:
            begin = self._start[self._first]
            piece = self._own[self._start[first] - begin : self._start[last] - begin]
            if rank != leader:
                self._comm.send_array(piece, leader)
            return piece
        piece = self._buffer(first, last)
        if rank == leader:
            self._comm.receive_array(piece, owner)
        return piece

    def _buffer(self, first: int, last: int) -> Samples:
        """Array for the samples of layers first ... last - 1."""
        return np.empty(self._start[last] - self._start[first], np.complex64)

    def _layer(self, packed: Samples, first: int, layer: int) -> Samples:
        """Samples of one layer, axes (z, x), in those from layer `first` on."""
        begin = self._start[layer] - self._start[first]
        shape = self._layers.shape(layer)
        return packed[begin : begin + shape[0] * shape[1]].reshape(shape)

    def _pieces(self, owner: int) -> Iterator[tuple[int, int]]:
        """Runs of an owner's layers, at most `_MESSAGE_BYTES` each."""
        begin, end = self._bounds[owner], self._bounds[owner + 1]
        for layer in range(begin + 1, end):
            if 8 * (self._start[layer + 1] - self._start[begin]) > _MESSAGE_BYTES:
                yield begin, layer
                begin = layer
        if begin < end:
            yield begin, end
