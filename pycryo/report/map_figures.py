"""Central sections of maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycryo.maps.density import Map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MASK_COLOUR = "#ff8c1a"
# Of the voxels, that tell the range of grey values.
_MOST_VOXELS = 2_000_000


def sections_of(data: NDArray[np.float32]) -> list[tuple[str, str, str, NDArray[np.float32]]]:
    """Axis across the section, to the right and up, and the section through the middle voxel, three times."""
    middle = len(data) // 2
    return [
        ("z", "x", "y", data[middle]),
        ("y", "x", "z", data[:, middle]),
        ("x", "y", "z", data[:, :, middle]),
    ]


def slices_figure(maps: Mapping[str, Map], diameter: float, mask: Map | None = None) -> Figure:
    """Central sections across z, y and x of each map, as far as the particle's diameter (Å) reaches.

    Parameters
    ----------
    maps : mapping of str to Map
        By name; a row each, with grey values of its own.
    diameter : float
        Å.
    mask : Map, optional
        Its outline is drawn where it has the grid of the map.
    """
    figure, axes = _three(len(maps))
    for row, (name, volume) in zip(axes, maps.items(), strict=True):
        sections = sections_of(volume.data)
        step = max(1, volume.data.size // _MOST_VOXELS)
        # The bright tail is the molecule: it keeps its range, the dark one is noise.
        low = float(np.quantile(volume.data.ravel()[::step], 0.02))
        high = max(float(section.max()) for *_, section in sections)
        for place, (axis, (across, right, up, section)) in enumerate(zip(row, sections, strict=True)):
            axis.imshow(section, cmap="gray", origin="lower", vmin=low, vmax=high, extent=_extent(volume))
            _outline(axis, mask, volume, place)
            _frame(axis, volume, diameter, (right, up))
            # At a place that is given matplotlib need not look for what is in the way.
            axis.set_title(f"{name}, across {across}", fontsize=9, y=1.0)
    return figure


def _three(n_row: int) -> tuple[Figure, NDArray[Any]]:
    """A figure with rows of three square axes: the places need not be searched."""
    from matplotlib.figure import Figure

    height = 3.15 * n_row
    figure = Figure(figsize=(9.6, height))
    places = {"left": 0.07, "right": 0.99, "wspace": 0.24, "hspace": 0.25}
    return figure, figure.subplots(
        n_row, 3, squeeze=False, gridspec_kw=places | {"bottom": 0.42 / height, "top": 1 - 0.25 / height}
    )


def _extent(volume: Map) -> tuple[float, float, float, float]:
    """Å from the centre of the outer edges of a section."""
    middle, edge = volume.box // 2, volume.pixel_size / 2
    low, high = -middle * volume.pixel_size - edge, (volume.box - middle) * volume.pixel_size - edge
    return low, high, low, high


def _frame(axis: Axes, volume: Map, diameter: float, names: tuple[str, str]) -> None:
    reach = min(0.65 * diameter, volume.box // 2 * volume.pixel_size)
    right, up = names
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axis.set_xlabel(f"{right} (Å)", fontsize=9, labelpad=1)
    axis.set_ylabel(f"{up} (Å)", fontsize=9, labelpad=0)
    axis.tick_params(labelsize=8)


def _outline(axis: Axes, mask: Map | None, volume: Map, place: int) -> None:
    if mask is None or mask.box != volume.box:
        return
    section = sections_of(mask.data)[place][-1]
    if section.min() < 0.5 < section.max():
        axis.contour(section, [0.5], colors=_MASK_COLOUR, linewidths=1, extent=_extent(volume))
