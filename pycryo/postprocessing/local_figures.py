"""Figures of local resolution: sections of the map beside those of its resolution, and the histogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycryo.maps.slab_map import SlabMap
from pycryo.postprocessing.chimerax import PALETTE
from pycryo.postprocessing.lattice import INSIDE
from pycryo.postprocessing.local_resolution import LocalResolution

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_AXES = (("x", "y"), ("x", "z"), ("y", "z"))


@dataclass(frozen=True, slots=True)
class LocalSections:
    """Central sections across z, y and x.

    Attributes
    ----------
    density, resolution, mask : (3, box, box) float32
        Of the locally filtered map, the local resolution (Å) and the mask.
    pixel_size : float
        Å.
    """

    density: NDArray[np.float32]
    resolution: NDArray[np.float32]
    mask: NDArray[np.float32]
    pixel_size: float

    @classmethod
    def of(cls, found: LocalResolution, density: SlabMap) -> LocalSections:
        """Those of planes that are dealt to ranks, on every rank. Collective."""
        mask = SlabMap(density.comm, found.mask, density.pixel_size)
        return cls(
            central_sections(density), central_sections(found.resolution), central_sections(mask), density.pixel_size
        )


def central_sections(source: SlabMap) -> NDArray[np.float32]:
    """(3, box, box) across z, y and x, on every rank. Collective."""
    middle, numbers = source.box // 2, source.numbers
    found = np.zeros((3, source.box, source.box), np.float32)
    if middle in numbers:
        found[0] = source.data[middle - numbers.start]
    found[1, numbers.start : numbers.stop] = source.data[:, middle]
    found[2, numbers.start : numbers.stop] = source.data[:, :, middle]
    source.comm.sum_array(found)
    return found


def palette() -> Colormap:
    """The colours of the ChimeraX file, fine to coarse."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("resolution", PALETTE)


def local_resolution_figure(sections: LocalSections, finest: float, coarsest: float) -> Figure:
    """Sections of the locally filtered map, above, and of its local resolution inside the mask, below.

    Parameters
    ----------
    sections : LocalSections
    finest, coarsest : float
        Å, the ends of the colours.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 6.0), layout="constrained")
    axes = figure.subplots(2, 3)
    box, pixel = sections.density.shape[1], sections.pixel_size
    half = box // 2
    extent = ((-half - 0.5) * pixel, (box - half - 0.5) * pixel) * 2
    inside = sections.mask > INSIDE
    reach = _reach(inside) * pixel
    low, high = np.quantile(sections.density, 0.02), sections.density.max()
    shown = np.where(inside, sections.resolution, np.nan)
    for place, (across, up) in enumerate(_AXES):
        axes[0, place].imshow(sections.density[place], cmap="gray", origin="lower", vmin=low, vmax=high, extent=extent)
        image = axes[1, place].imshow(
            shown[place], cmap=palette(), origin="lower", vmin=finest, vmax=coarsest, extent=extent
        )
        axes[0, place].contour(inside[place], levels=[0.5], colors=PALETTE[1], linewidths=0.8, extent=extent)
        for each in axes[:, place]:
            each.set(xlabel=f"{across} (Å)", ylabel=f"{up} (Å)", xlim=(-reach, reach), ylim=(-reach, reach))
            each.tick_params(labelsize=8)
    figure.colorbar(image, ax=axes[1], label="local resolution (Å)", extend="both", shrink=0.9)
    return figure


def _reach(inside: NDArray[np.bool_]) -> float:
    """px from the centre to the edge of the figure: the mask and a bit around it."""
    box = inside.shape[1]
    where = np.argwhere(inside)[:, 1:] - box // 2
    return float(min(box / 2, 1.15 * np.abs(where).max(initial=0) + 3))


def local_histogram_figure(told: Mapping[str, Any]) -> Figure:
    """Share of the molecule's volume by local resolution, with the median and the resolution of the whole.

    `told` is what localres.json has.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    edges, counts = (np.asarray(told["histogram"][name], np.float64) for name in ("edges", "voxels"))
    share = 100 * counts / max(1.0, float(counts.sum()))
    middle = (edges[1:] + edges[:-1]) / 2
    low, high = colour_range(told)
    colours = palette()(np.clip((middle - low) / (high - low), 0, 1))
    axes.bar(middle, share, width=np.diff(edges), color=colours, edgecolor="none")
    median, whole = told["quantiles"]["50"], told["resolution_whole"]
    axes.axvline(median, color="black", label=f"median {median:.2f} Å")
    axes.axvline(whole, color="grey", linestyle="--", label=f"whole map {whole:.2f} Å (FSC 0.143)")
    axes.set(xlabel=f"local resolution (Å), FSC {told['threshold']:g}", ylabel="volume (%)")
    axes.legend(frameon=False)
    return figure


def colour_range(told: Mapping[str, Any]) -> tuple[float, float]:
    """Ends of the colours, Å: what all but 5 % on either side have; `told` is what localres.json has."""
    low, high = float(told["quantiles"]["5"]), float(told["quantiles"]["95"])
    return low, max(high, low + 0.1)
