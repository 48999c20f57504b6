"""Density maps in real space: resampling, low-pass filter, soft sphere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import cube, instance, number, numbers, positive, whole_number
from pycryo.display import html_table
from pycryo.errors import InputError
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.slabs.slab_fft import SlabFft

if TYPE_CHECKING:
    import xarray

# Old voxels: a new voxel that is this little outside the old field of view is on its edge.
_NO_STEP = 1e-6
# Relative; pixel sizes of maps that are compared are the same within it.
_SAME_PIXEL = 1e-3
# Lengths given in pixels are not longer.
MOST_PX = 1e5


@dataclass(frozen=True, slots=True)
class Map:
    """A cubic density map, its origin at voxel ``box // 2``.

    It takes the place of its array: NumPy's functions and those of pycryo take a map where they take a cube.

    Attributes
    ----------
    data : (box, box, box) float32
        Density, axes (z, y, x). The array given, not a copy, if it is float32 and C-contiguous; else a converted one.
        It is as writeable as the array given was; nothing in pycryo writes into it. ``np.asarray(map)`` is `data`
        itself, ``np.array(map)`` a copy.
    pixel_size : float
        Edge of a voxel, Å.

    Raises
    ------
    InputError
        If `data` is not a cube of numbers or `pixel_size` not a positive number.

    Examples
    --------
    >>> ball = pycryo.Map(np.hypot.outer(np.arange(-8, 8), np.hypot.outer(np.arange(-8, 8), np.arange(-8, 8))) < 5, 3)
    >>> ball
    Map(16 px, 3 Å/px, density 0 to 1, mean 0.1184)
    >>> np.asarray(ball) is ball.data
    True
    >>> float(pycryo.Map(2 * ball.data, ball.pixel_size).data.max())
    2.0
    """

    data: NDArray[np.float32]
    pixel_size: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", numbers("data", self.data, np.float32))
        object.__setattr__(self, "pixel_size", positive("pixel_size", self.pixel_size, "Å"))
        if self.data.ndim != 3 or len(set(self.data.shape)) != 1 or self.data.size == 0:
            raise InputError(f"data: a map must be a cube, not {' × '.join(map(str, self.data.shape))} voxels")

    @property
    def box(self) -> int:
        """Voxels along an edge."""
        return len(self.data)

    def __repr__(self) -> str:
        low, high, mean = self.data.min(), self.data.max(), self.data.mean(dtype=np.float64)
        return f"Map({self.box} px, {self.pixel_size:.6g} Å/px, density {low:.4g} to {high:.4g}, mean {mean:.4g})"

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        low, high, mean = self.data.min(), self.data.max(), self.data.mean(dtype=np.float64)
        rows = {
            "box": f"{self.box} px, {self.box * self.pixel_size:.6g} Å",
            "pixel size": f"{self.pixel_size:.6g} Å",
            "density": f"{low:.4g} to {high:.4g}, mean {mean:.4g}, deviation {self.data.std(dtype=np.float64):.4g}",
        }
        return html_table("Map", rows)

    def to_xarray(self) -> xarray.DataArray:
        """The density as a `xarray.DataArray` with coordinates z, y, x in Å, 0 at the origin; the same memory.

        Raises
        ------
        InputError
            If xarray is not installed.
        """
        try:
            import xarray
        except ImportError:
            raise InputError("to_xarray needs the package xarray: `pip install xarray`, or 'pycryo[xarray]'") from None
        at = (np.arange(self.box) - self.box // 2) * self.pixel_size
        coordinates = {axis: xarray.Variable(axis, at, {"units": "Å"}) for axis in ("z", "y", "x")}
        return xarray.DataArray(
            self.data, coordinates, ("z", "y", "x"), name="density", attrs={"pixel_size": self.pixel_size}
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The density: functions that take an array take a map."""
        return np.array(self.data, dtype=dtype, copy=copy)


def as_map(name: str, value: Any, pixel_size: float | None = None) -> Map:
    """A map of finite numbers: one as it is, or an array (N, N, N) with its pixel size in Å.

    Raises
    ------
    InputError
        If it is neither, or an array comes without pixel size.
    """
    size = None if pixel_size is None else positive("pixel_size", pixel_size, "Å")
    if isinstance(value, Map):
        if not np.isfinite(value.data).all():
            raise InputError(f"{name}: expected finite numbers only, got NaN or infinity")
        return value if size in (None, value.pixel_size) else Map(value.data, size)
    if size is None:
        raise InputError(f"{name}: expected a Map, or an array and its pixel_size; got {type(value).__name__}")
    return Map(cube(name, value), size)


def same_sampling(sizes: Sequence[float]) -> None:
    """Raise InputError if pixel sizes (Å) of maps that are compared voxel by voxel differ by more than a thousandth."""
    if sizes and max(sizes) - min(sizes) > _SAME_PIXEL * min(sizes):
        raise InputError(
            f"the maps differ in pixel size ({', '.join(f'{size:g}' for size in sizes)} Å): they must agree; "
            "pycryo.resample brings one to the other's"
        )


def check_maps(name: str, value: Any) -> None:
    """Raise InputError if an argument is neither a map, nor a list or tuple of maps, nor None."""
    if value is None or isinstance(value, Map):
        return
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{name}: expected a Map (read_map), or a list of them, got {type(value).__name__}")
    for each in value:
        instance(name, each, Map, "a list of them")


def resample(source: Map, box: int, pixel_size: float) -> Map:
    """Bring a map to another box and pixel size, keeping its origin at the centre voxel and its grey values.

    The band-limited interpolant of the map (its Fourier series) is evaluated at the new voxels, axis by axis, with the
    frequencies that the new sampling cannot carry left out; the ratio of the pixel sizes may be any number. Voxels
    outside the old field of view are 0. Pixel sizes that differ by less than 0.01 px over half the box count as equal:
    the map is then only cropped or padded, bit for bit.

    Parameters
    ----------
    source : Map
    box : int
        New box, px; odd or even.
    pixel_size : float
        New pixel size, Å.

    Returns
    -------
    Map

    Raises
    ------
    InputError
        If `box` is less than 1 or `pixel_size` not a positive number.

    Examples
    --------
    >>> reference = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    >>> pycryo.resample(reference, 64, 4.0).data.shape
    (64, 64, 64)
    """
    source = as_map("source", source)
    box, pixel_size = whole_number("box", box, 1), positive("pixel_size", pixel_size, "Å")
    step = pixel_size / source.pixel_size
    if abs(step - 1) * source.box < 0.02:
        return Map(_crop_or_pad(source.data, box), pixel_size)
    basis = _interpolation_matrix(source.box, box, step)
    along_z = (basis @ source.data.astype(np.float64).reshape(source.box, -1)).reshape(box, source.box, source.box)
    data = np.empty((box, box, box), np.float32)
    for plane, out in zip(along_z, data, strict=True):
        out[:] = basis @ plane @ basis.T
    return Map(data, pixel_size)


def to_points(source: Map, points: int) -> Map:
    """A map resampled to another number of points over its field of view."""
    return resample(source, points, source.pixel_size * source.box / points)


def _interpolation_matrix(n: int, m: int, step: float) -> NDArray[np.float64]:
    """(m, n) values at m points `step` old voxels apart of the Fourier series through n voxels; both centred."""
    at = (np.arange(m) - m // 2) * step
    cutoff = round(n / 2 * min(1.0, 1 / step), 6)  # a whole number stays one when `step` is rounded
    k = np.arange(int(cutoff) + 1)
    amplitude = np.where(k == 0, 1.0, 2.0) / n
    amplitude[k == cutoff] /= 2  # Nyquist of either grid: one cosine, whose sine partner the grid cannot carry
    distance = at[:, None] - (np.arange(n) - n // 2)
    matrix = np.zeros((m, n))
    for index, factor in zip(k, amplitude, strict=True):
        matrix += factor * np.cos(2 * np.pi / n * index * distance)
    matrix[(at < -(n // 2) - _NO_STEP) | (at > n - 1 - n // 2 + _NO_STEP)] = 0
    return matrix


def _crop_or_pad(data: NDArray[np.float32], box: int) -> NDArray[np.float32]:
    """Centre crop or zero-pad a cube, keeping voxel ``n // 2`` at ``box // 2``."""
    n = len(data)
    both = min(n, box)
    old = slice(n // 2 - both // 2, n // 2 - both // 2 + both)
    new = slice(box // 2 - both // 2, box // 2 - both // 2 + both)
    out = np.zeros((box, box, box), np.float32)
    out[new, new, new] = data[old, old, old]
    return out


def low_pass(source: Map, resolution: float, *, edge_px: float = 2.0) -> Map:
    """Low-pass filter: 1 below, 0 above `resolution`, a raised cosine of `edge_px` Fourier px centred on it.

    Parameters
    ----------
    source : Map
    resolution : float
        Å.
    edge_px : float
        Width of the edge, Fourier px (1 / (box · pixel size)); 0 cuts sharply.

    Returns
    -------
    Map

    Raises
    ------
    InputError
        If `resolution` is not positive.

    Examples
    --------
    >>> noise = pycryo.Map(np.random.default_rng(1).normal(size=(32, 32, 32)), 3.0)
    >>> smooth = pycryo.low_pass(noise, 20)
    >>> bool(smooth.data.std() < 0.3 * noise.data.std())
    True
    """
    source = as_map("source", source)
    resolution = positive("resolution", resolution, "Å")
    edge_px = number("edge_px", edge_px, least=0, most=MOST_PX)
    data = low_pass_planes(SerialComm(), source.data, source.pixel_size, resolution, edge_px=edge_px)
    return Map(data, source.pixel_size)


def low_pass_planes(
    comm: Comm, planes: NDArray[np.float32], pixel_size: float, resolution: float, *, edge_px: float = 2.0
) -> NDArray[np.float32]:
    """`low_pass` of a map whose planes are dealt to ranks: (n_plane, box, box) of each, see `even_bounds`. Collective.

    Parameters and errors as for `low_pass`.
    """
    if not resolution > 0:
        raise InputError(f"the resolution of a low-pass filter must be a positive number of Å, not {resolution}")
    box = planes.shape[1]
    start = box * pixel_size / resolution - edge_px / 2
    # Only the rows and samples that the filter lets through, with room for the rounding of its float32 radii.
    within = start + max(0.0, edge_px) + 1e-3
    ky = np.rint(np.fft.fftfreq(box, 1 / box)).astype(np.int64)
    place = np.flatnonzero(np.abs(ky) <= within)
    widths = np.floor(np.sqrt(np.maximum(0, within**2 - np.square(ky[place])))).astype(np.int64) + 1
    fft = SlabFft(comm, box, place=place, widths=widths, double=False)
    kept: dict[int, NDArray[np.complex64]] = {}

    def take(row: int, samples: NDArray[np.complex64]) -> None:
        square = np.square(ky[:, None]) + np.square(ky[place[row]]) + np.square(np.arange(samples.shape[1]))
        kept[row] = samples * _falling_cosine(np.sqrt(square).astype(np.float32), start, edge_px)

    def fill(row: int, samples: NDArray[np.complex64]) -> None:
        samples[:] = kept.pop(row)

    result = np.empty_like(planes, np.float32)

    def finish(number: int, points: NDArray[np.float32]) -> None:
        np.multiply(points, np.float32(1 / box**3), out=result[number - fft.plane_numbers.start])

    fft.fill_planes(lambda number, points: np.copyto(points, planes[number - fft.plane_numbers.start]))
    fft.store(take)
    fft.load(fill)
    fft.on_planes(finish, back=False)
    return result


def soft_sphere(box: int, radius_px: float, edge_px: float, planes: range | None = None) -> NDArray[np.float32]:
    """1 within `radius_px` of the centre voxel, a cosine edge of `edge_px`, then 0.

    Parameters
    ----------
    box : int
        px.
    radius_px, edge_px : float
        px.
    planes : range, optional
        Of z; default: all.

    Returns
    -------
    (n_plane, box, box) float32
    """
    square = (np.arange(box, dtype=np.float32) - box // 2) ** 2
    z = slice(None) if planes is None else slice(planes.start, planes.stop)
    radius = np.sqrt(square[z, None, None] + square[None, :, None] + square[None, None, :])
    return _falling_cosine(radius, radius_px, edge_px)


def _falling_cosine(radius: NDArray[np.float32], start: float, width: float) -> NDArray[np.float32]:
    """1 up to `start`, ½(1 + cos) down to 0 over `width`, 0 beyond."""
    if width <= 0:
        return (radius <= start).astype(np.float32)
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip((radius - start) / width, 0, 1))), np.float32)
