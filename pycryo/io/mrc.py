"""MRC files: headers checked against the file, maps in and out, images read by number, stacks written as a stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from pycryo.errors import InputError, RunError
from pycryo.io.atomic import atomic_path, atomic_path_of_ranks, writing
from pycryo.maps.density import Map
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.collective_errors import on_all, on_root
from pycryo.parallel.comm import Comm, SerialComm

HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_OTHER_MODES = {3: "complex 16-bit", 4: "complex 32-bit", 16: "RGB", 17: "RGB", 101: "4-bit"}
_PACKED = {b"\x1f\x8b\x08": ("gzip", "gunzip"), b"BZh": ("bzip2", "bunzip2"), b"\xfd7zXZ": ("xz", "unxz")}
_READ_BYTES = 32 << 20  # neighbouring images are read in one call of at most this size


@dataclass(frozen=True, slots=True)
class MrcHeader:
    """What an MRC header says, checked against the length of its file.

    Attributes
    ----------
    path : Path
        The file.
    nx, ny, nz : int
        Columns, rows and sections (images) as stored.
    mode : int
        MRC mode: 0 int8, 1 int16, 2 float32, 6 uint16, 12 float16.
    dtype : numpy.dtype
        Type of a pixel with the byte order of the file.
    pixel_size : float
        Å along the columns; 0 where the header has none.
    pixel_sizes : (3,) floats
        Å along the axes x, y, z of the map.
    offset : int
        Byte at which the pixels begin: 1024 + the extended header.
    axes : (3,) ints
        Which of the axes x, y, z (1, 2, 3) columns, rows and sections are.
    """

    path: Path
    nx: int
    ny: int
    nz: int
    mode: int
    dtype: np.dtype[Any]
    pixel_size: float
    pixel_sizes: tuple[float, float, float]
    offset: int
    axes: tuple[int, int, int]

    @property
    def image_bytes(self) -> int:
        """Bytes of one section."""
        return self.nx * self.ny * self.dtype.itemsize


def read_header(path: str | os.PathLike[str]) -> MrcHeader:
    """Read and check the header of an MRC file.

    Raises
    ------
    InputError
        If the file is missing, packed, not MRC, of an unsupported mode, or shorter than its header claims.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    for magic, (name, command) in _PACKED.items():
        if raw.startswith(magic):
            raise InputError(f"{path} is packed with {name}; unpack it first (`{command}`) and name the unpacked file")
    if len(raw) < HEADER_BYTES:
        raise InputError(f"{path} has {size} bytes, less than an MRC header; it is cut off or not an MRC file")
    headers = [_interpret(path, raw, order) for order in _byte_orders(raw)]
    complaints = [_complaint(header, size) for header in headers]
    for header, complaint in zip(headers, complaints, strict=True):
        if not complaint:
            return header
    raise InputError(f"{path} {complaints[0]}")


def read_map(path: str | os.PathLike[str], *, pixel_size: float | None = None) -> Map:
    """Read a cubic density map; axes stored in another order are brought to (z, y, x).

    Parameters
    ----------
    path : path
        MRC or CCP4 file.
    pixel_size : float, optional
        Å; taken instead of the header's.

    Raises
    ------
    InputError
        If the file is not a readable cubic map with a pixel size, or holds non-finite or only equal values.
    """
    header = read_header(path)
    if not header.nx == header.ny == header.nz:
        raise InputError(f"{path} is {header.nx} × {header.ny} × {header.nz} voxels; pad or crop it to a cube")
    size = pixel_size if pixel_size is not None else _cubic_pixel_size(header)
    data = read_stack(header, range(header.nz))
    where = [header.axes.index(axis) for axis in (3, 2, 1)]  # stored axis (0 columns ... 2 sections) of z, y, x
    data = np.ascontiguousarray(data.transpose([2 - stored for stored in where]))
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{path} has voxels that are NaN or infinite; make the map again or replace them")
    if low == high:
        raise InputError(f"{path} has the same value {low:g} in all voxels; give a map that shows the molecule")
    return Map(data, size)


def write_map(path: str | os.PathLike[str], data: NDArray[np.floating[Any]], pixel_size: float) -> None:
    """Write a map (N, N, N) in order (z, y, x) as MRC mode 2, atomically; `pixel_size` in Å."""
    if data.ndim != 3:
        raise ValueError(f"data: expected 3 axes, got shape {data.shape}")
    _write_planes(SerialComm(), path, data, 0, len(data), pixel_size)


def write_map_slabs(path: str | os.PathLike[str], source: SlabMap) -> None:
    """Write a map whose planes are dealt to ranks, the file of `write_map`. Collective; errors are those of all ranks.

    Every rank writes its planes into one file: all must see the folder.
    """
    _write_planes(source.comm, path, source.data, source.numbers.start, source.box, source.pixel_size)


def write_stack(
    path: str | os.PathLike[str],
    blocks: Iterable[NDArray[Any]],
    shape: tuple[int, int],
    pixel_size: float,
    *,
    mode: int = 2,
) -> int:
    """Write images block by block as one MRC stack, atomically; only one block is in memory.

    Parameters
    ----------
    path : path
        The stack, usually ``*.mrcs``.
    blocks : iterable of (n, ny, nx) or (ny, nx) arrays
        The images in order.
    shape : (ny, nx)
        Rows and columns of each image.
    pixel_size : float
        Å.
    mode : {2, 12}
        float32 or float16.

    Returns
    -------
    int
        How many images were written.
    """
    if mode not in (2, 12):
        raise ValueError(f"mode: expected 2 or 12, got {mode}")
    dtype = np.dtype(MODES[mode]).newbyteorder("<")
    statistics, n = np.zeros((0, 4)), 0
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(bytes(HEADER_BYTES))
        for block in blocks:
            images = np.ascontiguousarray(block, dtype).reshape((-1, *block.shape[-2:]))
            if images.shape[1:] != tuple(shape):
                raise ValueError(f"images: expected shape {tuple(shape)}, got {images.shape[1:]}")
            file.write(images.data)
            statistics = _summary(np.concatenate([statistics, *map(_statistics, images)]))
            n += len(images)
        file.seek(0)
        file.write(_new_header((n, *shape), pixel_size, mode, statistics, is_volume=False).tobytes())
    return n


def read_stack(
    stack: str | os.PathLike[str] | MrcHeader, indices: Sequence[int] | NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Read images of a stack by number.

    Parameters
    ----------
    stack : path or MrcHeader
        A header read before saves reading it again.
    indices : (n,) ints
        0-based numbers in any order; neighbours are read in one call, in the order of the file.

    Returns
    -------
    (n, ny, nx) float32

    Raises
    ------
    InputError
        If the header is bad or an index is beyond the stack.
    RunError
        If the file vanished or shrank since its header was read.
    """
    header = stack if isinstance(stack, MrcHeader) else read_header(stack)
    wanted = np.asarray(indices, np.int64)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < header.nz:
        beyond = wanted[(wanted < 0) | (wanted >= header.nz)][0]
        raise InputError(f"{header.path} has {header.nz} images; there is no image {beyond + 1}")
    out = np.empty((wanted.size, header.ny, header.nx), np.float32)
    order = np.argsort(wanted, kind="stable")
    try:
        with open(header.path, "rb", buffering=0) as file:
            for run in _runs(wanted[order], header.image_bytes):
                _read_run(file.fileno(), header, wanted, order[run], out)
    except OSError as error:
        raise RunError(f"cannot read {header.path}: {error.strerror}; check that the disc is still there") from error
    return out


def _runs(ordered: NDArray[np.int64], image_bytes: int) -> Iterable[slice]:
    """Slices of the sorted indices that are neighbours (or equal) and fit into one read."""
    most = max(1, _READ_BYTES // max(1, image_bytes))
    first = 0
    for i in range(1, ordered.size + 1):
        if i == ordered.size or ordered[i] > ordered[i - 1] + 1 or ordered[i] - ordered[first] >= most:
            yield slice(first, i)
            first = i


def _read_run(
    descriptor: int, header: MrcHeader, wanted: NDArray[np.int64], rows: NDArray[np.intp], out: NDArray[np.float32]
) -> None:
    """Read the images `wanted[rows]`, ascending and without gaps, into `out[rows]`."""
    low, high = int(wanted[rows[0]]), int(wanted[rows[-1]])
    steps = np.arange(len(rows))
    direct = header.dtype == out.dtype and bool(np.all(wanted[rows] == low + steps) and np.all(rows == rows[0] + steps))
    target: NDArray[Any]
    if direct:
        target = out[rows[0] : rows[0] + len(rows)]
    else:
        target = np.empty((high - low + 1, header.ny, header.nx), header.dtype)
    view = target.reshape(-1).view(np.uint8).data
    offset, done = header.offset + low * header.image_bytes, 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise RunError(f"{header.path} ends within image {low + 1}..{high + 1}; it was cut off during the run")
        done += count
    if not direct:
        out[rows] = target[wanted[rows] - low]


def _byte_orders(raw: bytes) -> tuple[Literal["<", ">"], ...]:
    """Byte orders to try, the one of the machine stamp first; old files have a wrong or no stamp."""
    return (">", "<") if raw[212:214] == b"\x11\x11" else ("<", ">")


def _interpret(path: Path, raw: bytes, order: Literal["<", ">"]) -> MrcHeader:
    h = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order), 1)[0]
    cell = [float(h["cella"][axis]) for axis in "xyz"]
    grid = [int(h[name]) for name in ("mx", "my", "mz")]
    # The cell is float32: 7 digits give back the pixel size that was written.
    sizes = [float(f"{c / m:.7g}") if m > 0 and 0 < c < np.inf else 0.0 for c, m in zip(cell, grid, strict=True)]
    axes = (int(h["mapc"]), int(h["mapr"]), int(h["maps"]))
    mode = int(h["mode"])
    return MrcHeader(
        path=path,
        nx=int(h["nx"]),
        ny=int(h["ny"]),
        nz=int(h["nz"]),
        mode=mode,
        dtype=np.dtype(MODES.get(mode, "u1")).newbyteorder(order),
        pixel_size=sizes[axes[0] - 1] if axes[0] in (1, 2, 3) else sizes[0],
        pixel_sizes=(sizes[0], sizes[1], sizes[2]),
        offset=HEADER_BYTES + int(h["nsymbt"]),
        axes=axes if sorted(axes) == [1, 2, 3] else (1, 2, 3),
    )


def _complaint(header: MrcHeader, size: int) -> str:
    """What is wrong with a header for a file of `size` bytes; empty if nothing."""
    if header.mode in _OTHER_MODES:
        return (
            f"has mode {header.mode} ({_OTHER_MODES[header.mode]}), which is not read; convert it to mode 2 (float32)"
        )
    if header.mode not in MODES or min(header.nx, header.ny, header.nz) < 1 or header.offset < HEADER_BYTES:
        return "is not an MRC file: its header makes no sense; check the path, or write the file again"
    need = header.offset + header.nz * header.image_bytes
    if need > size:
        return (
            f"is cut off: {header.nz} × {header.ny} × {header.nx} pixels of mode {header.mode} need {need} bytes, "
            f"but it has {size}; copy or write it again"
        )
    return ""


def _cubic_pixel_size(header: MrcHeader) -> float:
    """The pixel size of a map, the same along all axes."""
    x, y, z = header.pixel_sizes
    if min(x, y, z) <= 0:
        raise InputError(
            f"{header.path} has no pixel size in its header; set it first, for example by "
            f"`relion_image_handler --i MAP --o NEW --force_header_angpix 1.5`"
        )
    if max(x, y, z) - min(x, y, z) > 0.01 * x:
        raise InputError(f"{header.path} has pixel sizes {x:g}, {y:g}, {z:g} Å; resample it to one for all axes")
    return x


def _write_planes(
    comm: Comm,
    path: str | os.PathLike[str],
    planes: NDArray[np.floating[Any]],
    first: int,
    n: int,
    pixel_size: float,
) -> None:
    """Write a map of `n` planes of which this rank has planes (n_plane, ny, nx) from number `first` on. Collective."""
    with atomic_path_of_ranks(comm, path) as temporary:

        def write_own() -> NDArray[np.float64]:
            with writing(path, temporary), open(temporary, "r+b", buffering=0) as file:
                return _write_at(file.fileno(), planes, first)

        statistics = np.zeros((n, 4))
        statistics[first : first + len(planes)] = on_all(comm, write_own)
        comm.sum_array(statistics)
        header = _new_header((n, *planes.shape[1:]), pixel_size, 2, _summary(statistics), is_volume=True)

        def write_header() -> None:
            with writing(path, temporary), open(temporary, "r+b") as file:
                file.write(header.tobytes())

        on_root(comm, write_header)


def _write_at(descriptor: int, planes: NDArray[np.floating[Any]], first: int) -> NDArray[np.float64]:
    """Write planes (n_plane, ny, nx) from number `first` on at their place in a map of mode 2, and synchronise.

    Returns
    -------
    (n_plane, 4) float64
        `_statistics` of each plane.
    """
    statistics = np.empty((len(planes), 4))
    for index, plane in enumerate(planes):
        image = np.ascontiguousarray(plane, "<f4")
        statistics[index] = _statistics(image)
        view = image.reshape(-1).view(np.uint8).data
        offset, done = HEADER_BYTES + (first + index) * image.nbytes, 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], offset + done)
    os.fsync(descriptor)
    return statistics


def _statistics(image: NDArray[Any]) -> NDArray[np.float64]:
    """(1, 4) minimum, maximum, sum and sum of squares of an image."""
    if image.size == 0:
        return np.array([[np.inf, -np.inf, 0, 0]])
    values = image.reshape(-1).astype(np.float64)
    found = np.array([[values.min(), values.max(), values.sum(), np.einsum("i,i->", values, values)]])
    return found + 0.0  # no -0.0, whose sign would depend on the order of the planes


def _summary(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1, 4) `_statistics` of all images from those (n, 4) of each."""
    low, high = statistics[:, 0].min(initial=np.inf), statistics[:, 1].max(initial=-np.inf)
    return np.array([[low, high, *statistics[:, 2:].sum(0)]])


def _new_header(
    shape: tuple[int, ...], pixel_size: float, mode: int, statistics: NDArray[np.float64], *, is_volume: bool
) -> NDArray[np.void]:
    """An MRC2014 header in little-endian order, without a time so that equal maps make equal files.

    Parameters
    ----------
    shape : (nz, ny, nx)
    pixel_size : float
        Å.
    mode : int
    statistics : (1, 4) float64
        `_summary` of all sections.
    is_volume : bool
        A map, else a stack of images.
    """
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    nz, ny, nx = shape
    header["nx"], header["ny"], header["nz"] = nx, ny, nz
    header["mode"] = mode
    grid = (nx, ny, nz if is_volume else 1)
    header["mx"], header["my"], header["mz"] = grid
    header["cella"] = tuple(n * pixel_size for n in grid)
    header["cellb"] = (90.0, 90.0, 90.0)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["ispg"] = 1 if is_volume else 0
    header["nversion"] = 20141
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0)
    if nz:
        low, high, total, squares = statistics[0]
        pixels = max(1, nx * ny * nz)
        mean = total / pixels
        header["dmin"], header["dmax"], header["dmean"] = low, high, mean
        header["rms"] = max(0.0, squares / pixels - mean * mean) ** 0.5
    header["nlabl"] = 1
    header["label"][0] = b"pycryo"
    return header
