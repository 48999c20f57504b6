"""What this machine can do at best, measured by small pieces of work against which kernels are held."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pycryo.threads import get_threads


@dataclass(frozen=True, slots=True)
class Limit:
    """What a machine can do at best, measured by a piece of work.

    Attributes
    ----------
    name : str
        Its name in the table.
    run : callable
        The work.
    work : float
        Amount of work of one run, in the unit before "/s".
    unit : str
        Such as ``flop/s``.
    """

    name: str
    run: Callable[[], object]
    work: float
    unit: str


def sgemm_peak(n: int = 2048) -> Limit:
    """Product of two n × n float32 matrices by NumPy's BLAS with all its threads."""
    rng = np.random.default_rng(0)
    a, b = rng.random((n, n), dtype=np.float32), rng.random((n, n), dtype=np.float32)
    out = np.empty((n, n), np.float32)
    return Limit("sgemm_peak", lambda: np.matmul(a, b, out=out), 2.0 * n**3, "flop/s")


def copy_bandwidth(size: int = 256 * 2**20) -> Limit:
    """Copy of `size` bytes by all threads; bytes read and bytes written both count."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    parts = list(zip(_split(source), _split(target), strict=True))
    pool = ThreadPoolExecutor(get_threads())

    def run() -> None:
        list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), parts))

    return Limit("copy_bandwidth", run, 2.0 * size, "B/s")


def gather_rate(read_bytes: int = 8, box: int = 256, reads: int = 2**21) -> Limit:
    """Random reads of 8 or 64 bytes by all threads from a half volume of box³ complex64 voxels."""
    n = box * box * (box // 2 + 1) * 8 // read_bytes
    volume = np.ones((n, read_bytes // 8), np.float64)
    index = np.random.default_rng(0).integers(0, n, reads)
    out = np.empty((reads, read_bytes // 8))
    parts = list(zip(_split(index), _split(out), strict=True))
    pool = ThreadPoolExecutor(get_threads())

    def run() -> None:
        # mode="clip" lets NumPy write into `out` without a buffer.
        list(pool.map(lambda pair: np.take(volume, pair[0], axis=0, out=pair[1], mode="clip"), parts))

    return Limit("gather_rate" if read_bytes == 8 else f"gather_rate_{read_bytes}", run, reads, "read/s")


def fft_rate(box: int = 256) -> Limit:
    """Transform of box³ float32 voxels to complex64 (scipy.fft, all threads)."""
    from scipy import fft

    volume = np.random.default_rng(0).random((box, box, box), dtype=np.float32)
    return Limit("fft_rate", lambda: fft.rfftn(volume, workers=get_threads()), float(box) ** 3, "voxel/s")


def disk_read(folder: str | None = None, size: int = 128 * 2**20) -> Limit:
    """Sequential reads of 4 MiB from a new file that is not in the page cache.

    The file is in `folder`, by default where temporary files go.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(np.random.default_rng(0).bytes(size))
        file.flush()
        os.fsync(file.fileno())
        descriptor = os.dup(file.fileno())
    buffer = bytearray(4 * 2**20)

    def run() -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(descriptor, 0, os.SEEK_SET)
        while os.readv(descriptor, [buffer]):
            pass

    weakref.finalize(run, os.close, descriptor)
    return Limit("disk_read", run, size, "B/s")


def _split(array: np.ndarray) -> list[np.ndarray]:
    return np.array_split(array, get_threads())


# name -> function that prepares the limit; it is called when a case needs it.
LIMITS: dict[str, Callable[[], Limit]] = {
    "sgemm_peak": sgemm_peak,
    "copy_bandwidth": copy_bandwidth,
    "gather_rate": gather_rate,
    "gather_rate_64": lambda: gather_rate(64),
    "fft_rate": fft_rate,
    "disk_read": disk_read,
}
