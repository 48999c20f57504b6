"""Fourier shell correlation of two half-maps, corrected for the mask by phase randomisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import described, number, numbers, positive, whole_number
from pycryo.display import html_columns
from pycryo.errors import InputError
from pycryo.maps.density import Map, same_sampling
from pycryo.maps.slab_transform import Rows, SlabTransform
from pycryo.parallel.collective_errors import on_all
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.rows import even_bounds
from pycryo.parallel.world import as_comm

if TYPE_CHECKING:
    import pandas as pd

Planes = NDArray[np.float32]

# Masked FSC below which the phases are randomised.
RANDOMISE_BELOW = 0.8
# Shells between the first randomised one and the first corrected one: the mask smears the border between the two.
RANDOMISE_MARGIN = 2
# FSC of random phases inside a mask, its median, above which the mask is too small to tell a resolution: masks of whole
# particles have 0.005, a sphere of 4 px radius 0.5, and the resolution in it is anything up to Nyquist.
_TOO_SMALL = 0.4
# px. A shell of a box has ~ box² samples, so that the FSC of random phases scatters as 1 / box: for a box of 32 by up
# to 0.2, which moved the resolution by half a shell. Below this box it is the mean over draws.
_STEADY_BOX = 128
# A mask may go so far beyond 0 and 1.
_BEYOND = 0.02


@dataclass(frozen=True, slots=True)
class Fsc:
    """The four FSC curves of a pair of half-maps, one value per shell 0 .. box // 2.

    Attributes
    ----------
    box : int
        Box of the maps, px.
    pixel_size : float
        Å.
    unmasked, masked, randomised, corrected : (n_shell,) float64
        FSC of the half-maps as they are, inside the mask, inside the mask after the phases were randomised from
        `randomised_from` on, and the masked one freed of what the mask alone correlates. Without a mask all are the
        unmasked one.
    randomised_from : int
        First shell with random phases; n_shell if there is none.
    power : (n_shell, 2) float64, or None
        Σ\\|A\\|² of the two half-maps as they are, A as `scipy.fft.rfftn` has it; None where only the curves are known.
    returned : tuple of (int, int)
        First and last shells of the bands beyond the first fall where the signal is back, as far as they were looked
        for: `pycryo.maps.returned.returned_bands`.
    """

    box: int
    pixel_size: float
    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]
    randomised: NDArray[np.float64]
    corrected: NDArray[np.float64]
    randomised_from: int
    power: NDArray[np.float64] | None = None
    returned: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        nyquist = self.box * self.pixel_size / max(1, len(self.unmasked) - 1)
        return (
            f"Fsc({len(self.unmasked)} shells to {nyquist:.4g} Å, corrected 0.143 at {self.resolution_0143:.4g} Å, "
            f"unmasked at {self.resolution_at(0.143, 'unmasked'):.4g} Å)"
        )

    def _repr_html_(self) -> str:
        """Where each curve falls, for notebooks."""
        rows = [
            (name, *(f"{self.resolution_at(at, name):.4g}" for at in (0.5, 0.143)))
            for name in ("unmasked", "masked", "corrected")
        ]
        return html_columns(repr(self), ("FSC", "Å at 0.5", "Å at 0.143"), rows)

    def frame(self) -> pd.DataFrame:
        """A DataFrame with a row per shell: frequency (1/Å), resolution (Å) and the four curves."""
        import pandas as pd

        names = ("frequency", "resolution", "unmasked", "masked", "randomised", "corrected")
        index = pd.RangeIndex(len(self.unmasked), name="shell")
        return pd.DataFrame({name: getattr(self, name) for name in names}, index=index)

    @property
    def frequency(self) -> NDArray[np.float64]:
        """(n_shell,) spatial frequency of the shells, 1/Å."""
        return np.arange(len(self.unmasked)) / (self.box * self.pixel_size)

    @property
    def resolution(self) -> NDArray[np.float64]:
        """(n_shell,) Å; inf for shell 0."""
        with np.errstate(divide="ignore"):
            return 1 / self.frequency

    @property
    def resolution_0143(self) -> float:
        """Resolution of the corrected curve at 0.143, Å."""
        return self.resolution_at(0.143, "corrected")

    def resolution_at(self, threshold: float, curve: str = "corrected") -> float:
        """Resolution (Å) at which the named curve first falls below `threshold`; see `resolution_at`.

        Raises
        ------
        InputError
            If there is no such curve, or the threshold is no number.
        """
        names = ("unmasked", "masked", "randomised", "corrected")
        if not isinstance(curve, str) or curve not in names:
            raise InputError(f"curve: expected {', '.join(names)}, got {described(curve)}")
        return resolution_at(getattr(self, curve), self.box, self.pixel_size, number("threshold", threshold))


def fsc(a: ArrayLike, b: ArrayLike, *, comm: Any = None, threads: int | None = None) -> NDArray[np.float64]:
    """Fourier shell correlation of two maps.

    ``FSC(s) = Re Σ A·B* / √(Σ|A|² Σ|B|²)`` over the voxels with round(|k|) = s (Harauz & van Heel, Optik 73, 1986).

    Parameters
    ----------
    a, b : (N, N, N) array_like
        Maps of the same box; with `comm`, (n_plane, N, N): this rank's planes.
    comm : Comm or mpi4py communicator, optional
        Ranks to which the planes are dealt (`pycryo.parallel.rows.even_bounds`); the call is collective then.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (N // 2 + 1,) float64
        On every rank. 0 for shells in which a map has no power.

    Raises
    ------
    InputError
        If the maps are no cubes of one size or not finite; on all ranks.

    Examples
    --------
    >>> reference = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    >>> noise = np.random.default_rng(1).normal(0, reference.data.std(), reference.data.shape)
    >>> curve = pycryo.fsc(reference, reference.data + noise)
    >>> curve.shape, bool(curve[2] > 0.99), bool(abs(curve[20]) < 0.2)
    ((25,), True, True)
    """
    comm = SerialComm() if comm is None else as_comm(comm)
    same_sampling([each.pixel_size for each in (a, b) if isinstance(each, Map)])
    halves = _check(comm, {"a": a, "b": b})
    slabs = SlabTransform(comm, halves[0].shape[1], threads)
    return _curve(slabs.sums(slabs.rows(halves[0]), slabs.rows(halves[1])))


def corrected_fsc(
    half1: ArrayLike,
    half2: ArrayLike,
    pixel_size: float | None = None,
    mask: ArrayLike | None = None,
    *,
    seed: int = 0,
    randomise_by: Literal["masked", "unmasked"] = "masked",
    comm: Any = None,
    threads: int | None = None,
) -> Fsc:
    """FSC of two half-maps with the correction for the mask of Chen et al., Ultramicroscopy 135 (2013) 24-35.

    The phases beyond the first shell where the masked FSC (`randomise_by`) is below 0.8 are randomised in both
    half-maps, in a box below 128 px with both signs of what is randomised; the FSC that remains inside the mask is the
    mask's doing. From two shells further on
    ``corrected = (masked - randomised) / (1 - randomised)``, before it is the masked one.

    Parameters
    ----------
    half1, half2 : (N, N, N) array_like
        Half-maps, unfiltered and unmasked; with `comm`, (n_plane, N, N): this rank's planes.
    pixel_size : float, optional
        Å; needed unless `half1` is a Map.
    mask : array_like of the same shape, optional
        0 to 1, soft.
    seed : int
        Of the random phases; the same seed gives the same curves, for any number of ranks.
    randomise_by : {"masked", "unmasked"}
        Which curve tells from where on; RELION takes the unmasked one.
    comm : Comm or mpi4py communicator, optional
        Ranks to which the planes are dealt (`pycryo.parallel.rows.even_bounds`); the call is collective then.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    Fsc
        On every rank.

    Raises
    ------
    InputError
        If the half-maps and the mask are no cubes of one size or not finite, or the pixel size is not known; on all
        ranks.

    Examples
    --------
    >>> reference = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    >>> particles = pycryo.simulate(reference, n=100, snr=0.5)
    >>> halves = pycryo.reconstruct(particles, half_maps=True).half_maps
    >>> curves = pycryo.corrected_fsc(*halves, mask=pycryo.mask(reference))
    >>> curves.resolution_0143 == curves.resolution_at(0.143)
    True
    >>> curves.frame().columns.tolist()
    ['frequency', 'resolution', 'unmasked', 'masked', 'randomised', 'corrected']
    """
    comm = SerialComm() if comm is None else as_comm(comm)
    sizes = [each.pixel_size for each in (half1, half2, mask) if isinstance(each, Map)]
    if pixel_size is None and not isinstance(half1, Map):
        raise InputError(f"half1: expected a Map, or an array and its pixel_size; got {type(half1).__name__}")
    pixel_size = sizes[0] if pixel_size is None else positive("pixel_size", pixel_size, "Å")
    same_sampling(sizes)
    seed = whole_number("seed", seed, 0)
    if not isinstance(randomise_by, str) or randomise_by not in ("masked", "unmasked"):
        raise InputError(f"randomise_by: expected 'masked' or 'unmasked', got {described(randomise_by)}")
    mask = None if mask is None else numbers("mask", mask, np.float32)
    halves = _check(comm, {"half1": half1, "half2": half2}, mask)
    slabs = SlabTransform(comm, halves[0].shape[1], threads)
    masked = None if mask is None else _curve(slabs.sums(*(slabs.rows(half, mask) for half in halves)))
    rows = [slabs.rows(half) for half in halves]
    sums = slabs.sums(*rows)
    unmasked, power = _curve(sums), sums[:, 1:]
    if mask is None or masked is None:
        return Fsc(slabs.box, pixel_size, unmasked, unmasked, unmasked, unmasked, len(unmasked), power)
    low = np.flatnonzero((masked if randomise_by == "masked" else unmasked)[1:] < RANDOMISE_BELOW)
    if len(low) == 0:
        return Fsc(slabs.box, pixel_size, unmasked, masked, masked, masked, len(masked), power)
    start = int(low[0]) + 1
    randomised = _curve(_randomised_sums(slabs, rows, mask, start, seed))
    corrected = masked.copy()
    beyond = slice(start + RANDOMISE_MARGIN, None)
    rest = 1 - randomised[beyond]
    corrected[beyond] = np.where(rest > 1e-6, (masked[beyond] - randomised[beyond]) / np.maximum(rest, 1e-6), 0.0)
    return Fsc(slabs.box, pixel_size, unmasked, masked, randomised, corrected, start, power)


def mask_warning(curves: Fsc) -> str | None:
    """That the mask is too small for its curves to tell a resolution; None if it is not."""
    beyond = curves.randomised[curves.randomised_from + RANDOMISE_MARGIN :]
    if len(beyond):
        left = float(np.median(beyond))
    else:  # nothing was randomised; without a mask both curves are one
        left = float(curves.masked[1:].min()) if curves.unmasked[1:].min() < 0.143 <= curves.masked[1:].min() else 0.0
    if left < _TOO_SMALL:
        return None
    return (
        f"inside this mask even noise agrees (FSC {left:.2f}): it is too small, or too sharp, to tell a resolution; "
        "give a larger and softer one"
    )


def resolution_at(curve: NDArray[np.float64], box: int, pixel_size: float, threshold: float = 0.143) -> float:
    """Resolution at which an FSC curve first falls below a threshold, linear between the shells.

    Parameters
    ----------
    curve : (n_shell,) float64
        From shell 0 on; shell 0 itself is not looked at. What rises again further out is ignored.
    box : int
        px.
    pixel_size : float
        Å.
    threshold : float

    Returns
    -------
    float
        Å. Of shell 1 (``box · pixel_size``) if that is already below; of the last shell if none is.
    """
    below = np.flatnonzero(~(curve[1:] >= threshold)) + 1  # NaN counts as below
    if len(below) == 0:
        shell = max(1.0, len(curve) - 1.0)
    elif below[0] == 1:
        shell = 1.0
    else:
        last, first = curve[below[0] - 1], np.nan_to_num(curve[below[0]])
        shell = float(below[0] - 1 + (last - threshold) / (last - first))
    return box * pixel_size / shell


def _randomised_sums(
    slabs: SlabTransform, rows: list[Rows], mask: Planes, start: int, seed: int
) -> NDArray[np.float64]:
    """(n_shell, 3) sums of two half-maps inside the mask, phases random from shell `start` on; `rows` are lost."""
    steady = slabs.box >= _STEADY_BOX
    beyond = np.empty(0, np.bool_) if steady else slabs.beyond(start)
    low = [] if steady else [np.where(beyond, 0, each) for each in rows]
    for half, each in enumerate(rows):
        slabs.randomise(each, start, seed, half)
        if not steady:
            each[~beyond] = 0
        slabs.mask(each, mask)
    sums = slabs.sums(rows[0], rows[1])
    if steady:
        return sums
    for each in low:
        slabs.mask(each, mask)
    shared = slabs.sums(low[0], low[1])
    # The mean over both signs of what has random phases in either half: products of it with anything else vanish.
    return np.stack([shared[:, 0], *(shared + sums)[:, 1:].T], axis=1)


def _check(comm: Comm, maps: dict[str, ArrayLike], mask: Planes | None = None) -> tuple[Planes, Planes]:
    """Both maps as float32, checked on all ranks."""
    first, second = (numbers(name, each, np.float32) for name, each in maps.items())

    def check() -> None:
        box = first.shape[1] if first.ndim == 3 else 0
        n_plane = int(np.diff(even_bounds(box, comm.size))[comm.rank])
        if box == 0 or first.shape != (n_plane, box, box) or first.shape != second.shape:
            raise InputError(
                f"{', '.join(maps)}: the FSC needs two cubes of one size, not {first.shape} and {second.shape} voxels"
            )
        if mask is not None and mask.shape != first.shape:
            raise InputError(f"the mask has {mask.shape} voxels but the half-maps {first.shape}")
        if mask is not None and not np.isfinite(mask).all():
            raise InputError("mask: expected finite numbers only, got NaN or infinity")
        if mask is not None and not (mask.min(initial=0) >= -_BEYOND and mask.max(initial=0) <= 1 + _BEYOND):
            raise InputError(f"mask: expected numbers from 0 to 1, got {mask.min():g} to {mask.max():g}")
        for name, which, half in zip(maps, ("first", "second"), (first, second), strict=True):
            if not np.isfinite(half).all():
                raise InputError(f"{name}: the {which} map of the FSC has voxels that are not finite (NaN or infinite)")

    on_all(comm, check)
    return first, second


def _curve(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """FSC of the sums of each shell, see `pycryo.kernels.shells.volume_shells`."""
    cross, power_a, power_b = sums.T
    power = np.sqrt(power_a) * np.sqrt(power_b)
    return np.asarray(np.divide(cross, power, out=np.zeros_like(cross), where=power > 0), np.float64)
