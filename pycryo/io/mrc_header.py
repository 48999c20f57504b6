"""Headers of MRC files: read and checked against the file, and made."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io._pixels import sums_of

HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_OTHER_MODES = {3: "complex 16-bit", 4: "complex 32-bit", 16: "RGB", 17: "RGB", 101: "4-bit"}
# IMOD's mark at byte 152, followed by flags: the first says that bytes are signed.
_IMOD_STAMP, _IMOD_SIGNED = 1146047817, 1
_PACKED = {b"\x1f\x8b\x08": ("gzip", "gunzip"), b"BZh": ("bzip2", "bunzip2"), b"\xfd7zXZ": ("xz", "unxz")}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a map's first voxel is in space: `start`, voxels, and `origin`, Å, along x, y, z; programs use either."""

    start: tuple[int, int, int] = (0, 0, 0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)


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
        MRC mode: 0 int8 (or uint8, see `unsigned_by`), 1 int16, 2 float32, 6 uint16, 12 float16.
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
    unsigned_by : str
        What tells that the bytes of mode 0 go from 0 to 255; empty if they go from -128 to 127, or in other modes.
    is_sign_unknown : bool
        Bytes of mode 0 are read as signed, though nothing tells it: there is no stamp and no range of values.
    place : Place
    stamp : (2,) floats
        Bytes of the file and when it was changed last, in seconds, as they were when the header was read.
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
    unsigned_by: str = ""
    is_sign_unknown: bool = False
    place: Place = Place()
    stamp: tuple[int, float] = (0, 0.0)

    @property
    def image_bytes(self) -> int:
        """Bytes of one section."""
        return self.nx * self.ny * self.dtype.itemsize

    def sign_words(self) -> str:
        """How the bytes of mode 0 are read, for the log; empty if there is nothing to tell."""
        if self.is_sign_unknown:
            return (
                f"{self.path}: nothing in the header tells whether the bytes of mode 0 are signed: they are read as "
                "signed, -128 to 127; if they go from 0 to 255, convert the file to mode 2 (float32)"
            )
        if not self.unsigned_by:
            return ""
        return f"{self.path}: the values of mode 0 are read as unsigned, 0 to 255, by {self.unsigned_by}"


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
            found = os.fstat(file.fileno())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    size = found.st_size
    for magic, (name, command) in _PACKED.items():
        if raw.startswith(magic):
            raise InputError(f"{path} is packed with {name}; unpack it first (`{command}`) and name the unpacked file")
    if len(raw) < HEADER_BYTES:
        raise InputError(f"{path} has {size} bytes, less than an MRC header; it is cut off or not an MRC file")
    headers = [_interpret(path, raw, order) for order in _byte_orders(raw)]
    complaints = [_complaint(header, size) for header in headers]
    for header, complaint in zip(headers, complaints, strict=True):
        if not complaint:
            return replace(header, stamp=stamp_of(found))
    raise InputError(f"{path} {complaints[0]}")


def stamp_of(found: os.stat_result) -> tuple[int, float]:
    """`MrcHeader.stamp` of a file."""
    return found.st_size, found.st_mtime


def statistics_of(image: NDArray[Any]) -> NDArray[np.float64]:
    """(1, 4) minimum, maximum, sum and sum of squares of an image."""
    if image.size == 0:
        return np.array([[np.inf, -np.inf, 0, 0]])
    if image.dtype == np.float32 and image.dtype.isnative:
        sums = sums_of(np.ascontiguousarray(image).reshape(-1))
        if math.isfinite(sums[3]):
            return sums[None] + 0.0
    values = image.reshape(-1).astype(np.float64)
    found = np.array([[values.min(), values.max(), values.sum(), np.einsum("i,i->", values, values)]])
    return found + 0.0  # no -0.0, whose sign would depend on the order of the planes


def summary(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1, 4) `statistics_of` of all images from those (n, 4) of each."""
    low, high = statistics[:, 0].min(initial=np.inf), statistics[:, 1].max(initial=-np.inf)
    return np.array([[low, high, *statistics[:, 2:].sum(0)]])


def new_header(
    shape: tuple[int, ...],
    pixel_size: float,
    mode: int,
    statistics: NDArray[np.float64],
    *,
    is_volume: bool,
    place: Place | None = None,
) -> NDArray[np.void]:
    """An MRC2014 header in little-endian order, without a time so that equal maps make equal files.

    Parameters
    ----------
    shape : (nz, ny, nx)
    pixel_size : float
        Å.
    mode : int
    statistics : (1, 4) float64
        `summary` of all sections.
    is_volume : bool
        A map, else a stack of images.
    place : Place, optional
        Of a map.
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
    if place is not None:
        header["nxstart"], header["nystart"], header["nzstart"] = place.start
        header["origin"] = place.origin
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
    axes = axes if sorted(axes) == [1, 2, 3] else (1, 2, 3)
    mode = int(h["mode"])
    unsigned_by = _unsigned_by(raw, h, order) if mode == 0 else ""
    kind = "u1" if unsigned_by else MODES.get(mode, "u1")
    stored = [int(h[f"n{axis}start"]) for axis in "xyz"]  # of columns, rows, sections
    start = [stored[axes.index(axis)] for axis in (1, 2, 3)]
    origin = [float(h["origin"][axis]) for axis in "xyz"]
    if not np.isfinite(origin).all():
        origin = [0.0, 0.0, 0.0]
    return MrcHeader(
        path=path,
        nx=int(h["nx"]),
        ny=int(h["ny"]),
        nz=int(h["nz"]),
        mode=mode,
        dtype=np.dtype(kind).newbyteorder(order),
        pixel_size=sizes[axes[0] - 1],
        pixel_sizes=(sizes[0], sizes[1], sizes[2]),
        offset=HEADER_BYTES + int(h["nsymbt"]),
        axes=axes,
        unsigned_by=unsigned_by,
        is_sign_unknown=mode == 0 and not unsigned_by and _is_sign_unknown(raw, h, order),
        place=Place((start[0], start[1], start[2]), (origin[0], origin[1], origin[2])),
    )


def _unsigned_by(raw: bytes, h: np.void, order: Literal["<", ">"]) -> str:
    """What tells that bytes are unsigned: IMOD's stamp, else values of the header that signed ones cannot have."""
    stamp, flags = np.frombuffer(raw, f"{order}i4", 2, offset=152).tolist()
    if stamp == _IMOD_STAMP:
        return "" if flags & _IMOD_SIGNED else "IMOD's stamp in the header"
    low, high = float(h["dmin"]), float(h["dmax"])
    # Without statistics the greatest value is below the least one.
    return f"the range {low:g} to {high:g} in the header" if low >= 0 and 127 < high <= 255 else ""


def _is_sign_unknown(raw: bytes, h: np.void, order: Literal["<", ">"]) -> bool:
    """Whether bytes that are not known to be unsigned are not known to be signed either."""
    if np.frombuffer(raw, f"{order}i4", 1, offset=152)[0] == _IMOD_STAMP:
        return False
    low, high = float(h["dmin"]), float(h["dmax"])
    return not (low < high <= 255 and low >= -128)


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
