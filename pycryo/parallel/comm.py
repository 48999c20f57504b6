"""Communicators: one interface over MPI (`pycryo.parallel.mpi`) and over a single process.

Every method is collective unless it says otherwise. The rest of the package takes a communicator as an argument and
never imports mpi4py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

T = TypeVar("T")


class Closable(Protocol):
    """What holds memory or communicators of ranks."""

    def close(self) -> None:
        """Give them back."""


K = TypeVar("K", bound=Closable)


class Comm(Protocol):
    """What the package needs of a communicator."""

    @property
    def rank(self) -> int:
        """Number of this process, 0 ≤ rank < size. Not collective."""

    @property
    def size(self) -> int:
        """Number of processes. Not collective."""

    @property
    def is_thread_safe(self) -> bool:
        """Whether several threads may exchange messages at a time. Not collective."""

    def broadcast(self, value: T, root: int = 0) -> T:
        """The object `value` of rank `root`, on every rank (small things: pickled)."""

    def broadcast_array(self, array: NDArray[Any], root: int = 0) -> None:
        """Fill `array` (same shape and type on every rank) with that of `root`."""

    def sum_array(self, array: NDArray[Any]) -> None:
        """Replace `array` by its sum over the ranks."""

    def max_array(self, array: NDArray[Any]) -> None:
        """Replace `array` by its element-wise maximum over the ranks."""

    def gather(self, value: T, root: int = 0) -> list[T] | None:
        """The objects of all ranks, in order, on rank `root`; None elsewhere."""

    def all_gather(self, value: T) -> list[T]:
        """The objects of all ranks, in order, on every rank."""

    def send_array(self, array: NDArray[Any], destination: int) -> None:
        """Send to one rank (matched by its `receive_array`). Not collective."""

    def receive_array(self, array: NDArray[Any], source: int) -> None:
        """Receive into `array`. Not collective."""

    def gather_parts(self, array: NDArray[Any], bounds: Sequence[int]) -> None:
        """Complete `array`, of which rank r has filled array[bounds[r]:bounds[r + 1]], on every rank."""

    def begin_shift(
        self, send: NDArray[Any] | None, destination: int, receive: NDArray[Any] | None, source: int
    ) -> Transfer:
        """Begin to send one array and to receive another; neither may be touched until `Transfer.wait` returns.

        None: nothing that way, which the rank at the other end knows too. Not collective.
        """

    def begin_exchange(
        self,
        send: NDArray[Any],
        send_bounds: NDArray[np.int64],
        receive: NDArray[Any],
        receive_bounds: NDArray[np.int64],
    ) -> Transfer:
        """Begin to send every rank r, oneself too, send[send_bounds[r]:send_bounds[r + 1]] and to receive likewise.

        The arrays are one-dimensional and of one type; neither may be touched until `Transfer.wait` returns.
        """

    def swap(self, outgoing: Mapping[int, NDArray[Any]], incoming: Mapping[int, NDArray[Any]]) -> None:
        """Send an array to each rank in `outgoing`, fill those of `incoming`; not to itself. Not collective."""

    def split(self, color: int | None) -> Comm | None:
        """Communicator of the ranks with the same `color`, in order; None for those without."""

    def node(self) -> Comm:
        """Communicator of the ranks on this node, in order."""

    def shared_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> SharedArray:
        """An array in memory that all ranks of this communicator, which are on one node, have in common."""

    def kept(self, make: Callable[[Comm], K]) -> K:
        """What `make` makes of this communicator: made by the first call, kept with it, closed by `free`."""

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def free(self) -> None:
        """Give back a communicator that `split` or `node` made."""

    def abort(self, code: int) -> None:
        """End all ranks at once. Not collective."""


class Transfer:
    """One array on its way out and one on its way in; this one is empty, and done."""

    def progress(self) -> bool:
        """Let the messages move on: call it now and then while computing. Whether they have arrived."""
        return True

    def wait(self) -> tuple[float, float]:
        """Wait for the end. Seconds waited until both neighbours had begun, and from then on."""
        return 0.0, 0.0


class SharedArray:
    """An array of a node, see `Comm.shared_array`; here it is a process's own.

    Attributes
    ----------
    array : NDArray
        Rank 0 of the node writes, then all call `publish`, then all may read.
    is_shared : bool
        Whether all ranks have the same memory, and may write as they agree; else each has a copy of what rank 0 wrote.
    """

    is_shared = True

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def sync(self) -> None:
        """Keep what is written before this from being seen after what is written later. Not collective."""

    def publish(self) -> None:
        """Let all ranks see what rank 0 wrote. Collective."""

    def close(self) -> None:
        """Give the memory back; nobody may touch `array` any more. Collective."""


class SerialComm:
    """The communicator of a single process."""

    rank = 0
    size = 1
    is_thread_safe = True

    def broadcast(self, value: T, root: int = 0) -> T:
        return value

    def broadcast_array(self, array: NDArray[Any], root: int = 0) -> None:
        pass

    def sum_array(self, array: NDArray[Any]) -> None:
        pass

    def max_array(self, array: NDArray[Any]) -> None:
        pass

    def gather(self, value: T, root: int = 0) -> list[T] | None:
        return [value]

    def all_gather(self, value: T) -> list[T]:
        return [value]

    def send_array(self, array: NDArray[Any], destination: int) -> None:
        raise ValueError("a single process has nobody to send to")

    def receive_array(self, array: NDArray[Any], source: int) -> None:
        raise ValueError("a single process has nobody to receive from")

    def gather_parts(self, array: NDArray[Any], bounds: Sequence[int]) -> None:
        pass

    def begin_shift(
        self, send: NDArray[Any] | None, destination: int, receive: NDArray[Any] | None, source: int
    ) -> Transfer:
        if send is not None or receive is not None:
            raise ValueError("a single process has nobody to exchange with")
        return Transfer()

    def begin_exchange(
        self,
        send: NDArray[Any],
        send_bounds: NDArray[np.int64],
        receive: NDArray[Any],
        receive_bounds: NDArray[np.int64],
    ) -> Transfer:
        receive[:] = send
        return Transfer()

    def swap(self, outgoing: Mapping[int, NDArray[Any]], incoming: Mapping[int, NDArray[Any]]) -> None:
        if outgoing or incoming:
            raise ValueError("a single process has nobody to exchange with")

    def split(self, color: int | None) -> Comm | None:
        return None if color is None else self

    def node(self) -> Comm:
        return self

    def shared_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> SharedArray:
        return SharedArray(np.empty(shape, dtype))

    def kept(self, make: Callable[[Comm], K]) -> K:
        raise ValueError("a single process has nobody to exchange with")

    def barrier(self) -> None:
        pass

    def free(self) -> None:
        pass

    def abort(self, code: int) -> None:
        sys.exit(code)
