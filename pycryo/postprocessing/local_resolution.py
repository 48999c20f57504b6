"""Local resolution of two half-maps: the FSC inside a window that moves over the map.

See docs/method.md, Local resolution.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import numbers
from pycryo.errors import InputError
from pycryo.kernels.shells import shell_counts, volume_shells
from pycryo.maps.density import Map, as_map, same_sampling
from pycryo.maps.fsc import Fsc, corrected_fsc
from pycryo.maps.masks import auto_mask, check_mask_values
from pycryo.maps.slab_map import SlabMap
from pycryo.option_fields import choose
from pycryo.parallel.collective_errors import on_all
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.quantiles import quantiles
from pycryo.parallel.rows import Bounds, even_bounds, move_rows, with_halo
from pycryo.parallel.world import as_comm
from pycryo.postprocessing.lattice import INSIDE, everywhere, interpolated, lattice_points, medians, near_mask
from pycryo.postprocessing.local_options import THRESHOLD as THRESHOLD
from pycryo.postprocessing.local_options import LocalOptions as LocalOptions
from pycryo.postprocessing.process import check_pair
from pycryo.postprocessing.spectral_window import Leakage, Window, limits
from pycryo.threads import threads_or_default

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]
Planes = NDArray[np.float32]

# Diameter of the window, Å, and in resolutions of the whole map, the larger of both: a shell of a window has so few
# independent samples that limits scatter by 15 % with 2.8 resolutions, and by 7 % with 4.
LEAST_WINDOW, LEAST_RESOLUTIONS = 25.0, 4.0
# Resolutions of a place per window below which the window there is doubled.
_TOO_FEW = 1.5
# Windows per diameter, along each axis: the map of limits is as smooth as the window.
_OVERLAP = 4
_N_BINS = 50
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class LocalResolution:
    """What was found.

    Attributes
    ----------
    resolution : SlabMap
        Å, at every voxel; away from the mask that of the nearest window.
    mask : (n_plane, box, box) float32
        This rank's planes.
    fsc : Fsc
        Of the whole half-maps inside the mask.
    window, step : float
        As used, Å.
    threshold : float
    n_window, n_doubled : int
        Places that were looked at, and those of them with wider windows.
    finest : float
        What the sampling allows, Å: such values mean "at least as fine".
    quantiles : (5,) float64
        Of the voxels where the mask is above 0.5: the 5, 25, 50, 75 and 95 % finest, Å.
    edges, counts : (n_bin + 1,) float64, Å, and (n_bin,) int64
        Histogram of these voxels.
    """

    resolution: SlabMap
    mask: Planes
    fsc: Fsc
    window: float
    step: float
    threshold: float
    n_window: int
    n_doubled: int
    finest: float
    quantiles: Array
    edges: Array
    counts: NDArray[np.int64]

    def __repr__(self) -> str:
        low, middle, high = (f"{self.quantiles[i]:.3g}" for i in (0, 2, 4))
        return f"LocalResolution(5 % of the mask to {low} Å, half to {middle} Å, 95 % to {high} Å)"


def localres(
    half1: Any, half2: Any, mask: Any = None, *, pixel_size: float | None = None, comm: Any = None, **options: Any
) -> LocalResolution:
    """Local resolution of two half-maps, by their FSC in windows on a lattice.

    Parameters
    ----------
    half1, half2 : Map, or (N, N, N) array_like
        Unfiltered and unmasked.
    mask : Map, or array_like of the same shape, optional
        0 to 1: windows are centred where it is above 0.5.
    pixel_size : float, optional
        Å; needed for arrays.
    comm : mpi4py communicator, optional
        Ranks that share the windows; each gives the whole maps and gets its planes of the result. Collective then.
    **options
        Fields of `LocalOptions`.

    Returns
    -------
    LocalResolution

    Raises
    ------
    InputError
        If the half-maps or the mask cannot be used, or there is no such option.

    Examples
    --------
    >>> truth = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    >>> halves = pycryo.reconstruct(pycryo.simulate(truth, n=100, snr=0.5), half_maps=True).half_maps
    >>> found = pycryo.localres(*halves, pycryo.mask(truth, resolution=40), window=120, step=60)
    >>> found.resolution.data.shape, len(found.quantiles)
    ((48, 48, 48), 5)
    """
    chosen: LocalOptions = choose(LocalOptions, "localres", options)
    first, second = as_map("half1", half1, pixel_size), as_map("half2", half2, pixel_size)
    check_pair(first, second)
    ranks = SerialComm() if comm is None else as_comm(comm)
    bounds = even_bounds(first.box, ranks.size)
    mine = slice(int(bounds[ranks.rank]), int(bounds[ranks.rank + 1]))
    if isinstance(mask, Map):
        same_sampling([first.pixel_size, mask.pixel_size])
    inside = None if mask is None else numbers("mask", mask, np.float32, first.data.shape)
    if inside is not None:
        check_mask_values(inside)
        inside = inside[mine]
    return local_resolution(first.data[mine], second.data[mine], first.pixel_size, inside, chosen, comm=ranks)


def local_resolution(
    half1: ArrayLike,
    half2: ArrayLike,
    pixel_size: float,
    mask: Planes | None = None,
    options: LocalOptions | None = None,
    *,
    comm: Comm | None = None,
    threads: int | None = None,
) -> LocalResolution:
    """Local resolution of two half-maps.

    Parameters
    ----------
    half1, half2 : (N, N, N) array_like
        Half-maps, unfiltered and unmasked; with `comm`, (n_plane, N, N): this rank's planes.
    pixel_size : float
        Å.
    mask : float32 of the same shape, optional
        0 to 1: windows are centred where it is above 0.5; it cuts nothing off. Default: around the density of the mean.
    options : LocalOptions, optional
    comm : Comm, optional
        Ranks to which the planes are dealt (`pycryo.parallel.rows.even_bounds`); the call is collective then. The
        number of ranks and of threads changes no bit of the result.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    LocalResolution
        Its maps are this rank's planes.

    Raises
    ------
    InputError
        If the half-maps and the mask are no cubes of one size or not finite, the window does not fit into them or is
        too small for their sampling, or the mask is below 0.5 everywhere; on all ranks.
    """
    comm, options = comm or SerialComm(), options or LocalOptions()
    first, second = (np.asarray(half, np.float32) for half in (half1, half2))
    if mask is None:
        mean = SlabMap(comm, (first + second) / np.float32(2), pixel_size)
        mask = auto_mask(mean, comm=comm)
    curves = corrected_fsc(first, second, pixel_size, mask, seed=options.seed, comm=comm, threads=threads)
    box = curves.box
    diameter = _diameter(options, curves)
    window = Window(diameter / pixel_size)
    stride = max(1, min(box, round((options.step or diameter / _OVERLAP) / pixel_size)))
    lattice = lattice_points(box, window, stride)
    inside = near_mask(comm, mask, lattice)
    if not inside.any():
        raise InputError(f"the mask is nowhere above {INSIDE}: there is nothing to look at")
    measure = partial(_limits_at, comm, [first, second], options.threshold, threads_or_default(threads))
    found, n_doubled = _measured(measure, lattice, inside, window, box, may_widen=options.window is None)
    found = everywhere(medians(found))
    planes = pixel_size / interpolated(found, lattice, range(*_own(comm, box)), box)
    resolution = SlabMap(comm, planes.astype(np.float32), pixel_size)
    chosen = [plane[at > INSIDE] for plane, at in zip(resolution.data, mask, strict=True)]
    edges = pixel_size * np.linspace(1 / found.max(), max(1 / found.min(), 1.01 / found.max()), _N_BINS + 1)
    counts = np.sum([np.histogram(each, _rounded(edges))[0] for each in chosen], axis=0, dtype=np.int64)
    counts = np.zeros(_N_BINS, np.int64) + counts
    comm.sum_array(counts)
    return LocalResolution(
        resolution=resolution,
        mask=mask,
        fsc=curves,
        window=diameter,
        step=stride * pixel_size,
        threshold=options.threshold,
        n_window=int(np.count_nonzero(inside)),
        n_doubled=n_doubled,
        finest=2 * pixel_size,
        quantiles=quantiles(comm, chosen, QUANTILES),
        edges=edges,
        counts=counts,
    )


def _measured(
    measure: Callable[[Window, NDArray[np.int64]], Array],
    lattice: NDArray[np.int64],
    inside: NDArray[np.bool_],
    window: Window,
    box: int,
    *,
    may_widen: bool,
) -> tuple[Array, int]:
    """(n, n, n) limits at the points of the lattice, 1/px, NaN where not `inside`, and how many have wider windows."""
    found = np.full(inside.shape, np.nan)
    found[inside] = measure(window, lattice[np.argwhere(inside)]) / window.box
    wide = Window(2 * window.diameter)
    where = np.argwhere(found < _TOO_FEW / window.diameter)
    if not may_widen or wide.box > box or not len(where):
        return found, 0
    half = wide.box // 2
    found[tuple(where.T)] = measure(wide, np.clip(lattice[where], half, box - half)) / wide.box
    return found, len(where)


def _diameter(options: LocalOptions, curves: Fsc) -> float:
    """Of the window, Å, checked."""
    field = curves.box * curves.pixel_size
    diameter = options.window
    if diameter is None:
        diameter = min(max(LEAST_WINDOW, LEAST_RESOLUTIONS * curves.resolution_0143), field / 3)
        diameter = max(diameter, 4 * curves.pixel_size)  # of boxes below 12 px
    if not 4 * curves.pixel_size <= diameter <= field or Window(diameter / curves.pixel_size).box > curves.box:
        raise InputError(
            f"the window is {diameter:.1f} Å; it must be at least 4 px, {4 * curves.pixel_size:.1f} Å, and at most "
            f"half the box, {field / 2:.1f} Å"
        )
    return diameter


def _rounded(edges: Array) -> Array:
    """Edges of bins for float32 values, none of which is beyond the outer ones."""
    return np.concatenate([[0], edges[1:-1], [np.inf]])


def _own(comm: Comm, box: int) -> tuple[int, int]:
    bounds = even_bounds(box, comm.size)
    return int(bounds[comm.rank]), int(bounds[comm.rank + 1])


def _limits_at(
    comm: Comm, halves: list[Planes], threshold: float, threads: int, window: Window, centres: NDArray[np.int64]
) -> Array:
    """(n,) limits in shells of the windows about `centres` (n, 3), px, z ascending, on every rank. Collective.

    Each rank takes as many windows as any other, and of the half-maps the planes that these need.
    """
    box = halves[0].shape[1]
    shares = even_bounds(len(centres), comm.size)
    first = centres[np.minimum(shares[1:-1], len(centres) - 1), 0]
    # The last window of a rank is at the first plane of the next one at the most.
    bounds: Bounds = np.concatenate([[0], first, [box]]).astype(np.int64)
    blocks, before = [], 0
    for half in halves:
        block = move_rows(comm, half, even_bounds(box, comm.size), bounds)
        block, before = with_halo(comm, block, bounds, window.box // 2 + 1)
        blocks.append(block)
    mine = centres[shares[comm.rank] : shares[comm.rank + 1]].copy()
    mine[:, 0] -= int(bounds[comm.rank]) - before
    found = np.zeros(len(centres))
    own = on_all(comm, lambda: _own_limits(blocks, mine, window, threshold, threads))
    found[shares[comm.rank] : shares[comm.rank + 1]] = own
    comm.gather_parts(found, shares.tolist())
    return found


def _own_limits(
    blocks: list[Planes], centres: NDArray[np.int64], window: Window, threshold: float, threads: int
) -> Array:
    """(n,) limits of the windows about `centres` (n, 3), px of this rank's blocks (n_plane, N, N) of the half-maps."""
    from scipy.fft import rfftn

    values, n_shell, half = window.values(), window.n_shell, window.box // 2
    sums = np.empty((len(centres), n_shell, 3))

    def measure(number: int) -> None:
        # One window at a time: its bits depend on nothing else.
        where = tuple(slice(start, start + window.box) for start in centres[number] - half)
        first, second = (rfftn(block[where] * values) for block in blocks)
        sums[number] = volume_shells(first, second, n_shell, threads=1)

    _each(measure, len(centres), threads)
    return limits(sums, shell_counts(window.box), Leakage(window), threshold)


def _each(work: Callable[[int], None], n: int, threads: int) -> None:
    """Call `work` with 0 ... n - 1, by several threads."""
    if threads == 1:
        for number in range(n):
            work(number)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(n)))
