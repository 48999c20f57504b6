"""Maps in MRC files: read, and written by one process or by many."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import arguments
from pycryo.arguments import instance, numbers, positive
from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.atomic import Later, atomic_path_of_ranks, writing
from pycryo.io.mrc_header import HEADER_BYTES, MrcHeader, Place, new_header, read_header, statistics_of, summary
from pycryo.io.mrc_stacks import read_stack
from pycryo.maps.density import Map
from pycryo.maps.masks import check_mask_values
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.collective_errors import on_all, on_root
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.world import is_one_node

logger = logging.getLogger(__name__)


def read_map(path: str | os.PathLike[str], *, pixel_size: float | None = None, findings: Findings | None = None) -> Map:
    """Read a cubic density map; axes stored in another order are brought to (z, y, x).

    Parameters
    ----------
    path : path
        MRC or CCP4 file.
    pixel_size : float, optional
        Å; taken instead of the header's.
    findings : Findings, optional
        Gets what had to be assumed; by default the log does.

    Returns
    -------
    Map
        Axes (z, y, x).

    Raises
    ------
    InputError
        If the file is not a readable cubic map with a pixel size, or holds non-finite or only equal values.

    Examples
    --------
    >>> reference = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    >>> reference.data.shape, round(reference.pixel_size, 2)
    ((48, 48, 48), 6.83)
    """
    path = arguments.path("path", path)
    pixel_size = None if pixel_size is None else positive("pixel_size", pixel_size, "Å")
    if findings is not None:
        instance("findings", findings, Findings, "pycryo.findings")
    header = read_header(path)
    if words := header.sign_words():
        if findings is None:
            logger.warning("%s", words)
        else:
            findings.warn("unsigned", words)
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
        raise InputError(f"{path} has the same value {low:g} in all voxels; give one that shows where the molecule is")
    return Map(data, size)


def read_mask(
    path: str | os.PathLike[str], *, pixel_size: float | None = None, findings: Findings | None = None
) -> Map:
    """Read a mask as `read_map` reads a map; its values must lie between 0 and 1 as they are stored.

    Raises
    ------
    InputError
        As `read_map`, or if the values are others.
    """
    found = read_map(path, pixel_size=pixel_size, findings=findings)
    check_mask_values(found.data, str(path))
    return found


def read_place(path: str | os.PathLike[str], pixel_size: float) -> Place:
    """Where a map is in space, for a map of `pixel_size` Å on the same voxels; the header may have another one."""
    header = read_header(path)
    factor = pixel_size / header.pixel_size if header.pixel_size > 0 else 1.0
    x, y, z = header.place.origin
    return Place(header.place.start, (factor * x, factor * y, factor * z))


def write_map(
    path: str | os.PathLike[str], data: ArrayLike | Map, pixel_size: float | None = None, place: Place | None = None
) -> None:
    """Write a map as MRC mode 2, atomically.

    Parameters
    ----------
    path : path
    data : Map, or (N, N, N) array_like
        In order (z, y, x).
    pixel_size : float, optional
        Å; needed for an array.
    place : Place, optional
        Where it is in space; by default with its first voxel at 0.

    Raises
    ------
    InputError
        If it is no map, its pixel size is not known, or the file cannot be written.

    Examples
    --------
    >>> pycryo.write_map("cube.mrc", np.arange(512).reshape(8, 8, 8), pixel_size=2.0)
    >>> pycryo.read_map("cube.mrc")
    Map(8 px, 2 Å/px, density 0 to 511, mean 255.5)
    """
    where = arguments.path("path", path)
    if pixel_size is None:
        instance("data", data, Map, "or an array, and its pixel_size")
        pixel_size = data.pixel_size  # type: ignore[union-attr]
    data, pixel_size = numbers("data", data, np.float32, (None, None, None)), positive("pixel_size", pixel_size, "Å")
    if not data.size:
        raise InputError(f"data: expected a map, got shape {data.shape}")
    if place is not None:
        instance("place", place, Place, "from pycryo.io.mrc.read_place")
    _write_planes(SerialComm(), where, data, (0, len(data)), pixel_size, place=place)


def write_map_slabs(
    path: str | os.PathLike[str], source: SlabMap, later: Later | None = None, place: Place | None = None
) -> None:
    """Write a map whose planes are dealt to ranks, the file of `write_map`. Collective; errors are those of all ranks.

    Every rank writes its planes into one file: all must see the folder. `later` is that of
    `pycryo.io.atomic.atomic_path`, on rank 0; the planes have been written by then.
    """
    _write_planes(source.comm, path, source.data, (source.numbers.start, source.box), source.pixel_size, later, place)


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
    planes_of: tuple[int, int],
    pixel_size: float,
    later: Later | None = None,
    place: Place | None = None,
) -> None:
    """Write a map of which this rank has planes (n_plane, ny, nx). Collective.

    `planes_of` is the number of the first of them, and how many planes the map has.
    """
    first, n = planes_of
    # What the processes of one node have written is made durable with the file; other nodes know nothing of it.
    synchronises = later is None or not is_one_node(comm)
    with atomic_path_of_ranks(comm, path, later) as temporary:

        def write_own() -> NDArray[np.float64]:
            with writing(path, temporary), open(temporary, "r+b", buffering=0) as file:
                return _write_at(file.fileno(), planes, first, synchronises=synchronises)

        statistics = np.zeros((n, 4))
        statistics[first : first + len(planes)] = on_all(comm, write_own)
        comm.sum_array(statistics)
        header = new_header((n, *planes.shape[1:]), pixel_size, 2, summary(statistics), is_volume=True, place=place)

        def write_header() -> None:
            with writing(path, temporary), open(temporary, "r+b") as file:
                file.write(header.tobytes())

        on_root(comm, write_header)


def _write_at(
    descriptor: int, planes: NDArray[np.floating[Any]], first: int, *, synchronises: bool
) -> NDArray[np.float64]:
    """Write planes (n_plane, ny, nx) from number `first` on at their place in a map of mode 2.

    Returns
    -------
    (n_plane, 4) float64
        `statistics_of` of each plane.
    """
    statistics = np.empty((len(planes), 4))
    for index, plane in enumerate(planes):
        image = np.ascontiguousarray(plane, "<f4")
        statistics[index] = statistics_of(image)
        view = image.reshape(-1).view(np.uint8).data
        offset, done = HEADER_BYTES + (first + index) * image.nbytes, 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], offset + done)
    if synchronises:
        os.fsync(descriptor)
    return statistics
