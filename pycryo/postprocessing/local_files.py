"""Files of local resolution: maps, figures as numbers and pictures, a command file for ChimeraX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pycryo.io.atomic import write_bytes, write_text
from pycryo.io.json_file import write_object
from pycryo.io.mrc import write_map_slabs
from pycryo.io.mrc_header import Place
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.quantiles import quantiles
from pycryo.postprocessing.chimerax import colour_by_resolution
from pycryo.postprocessing.lattice import INSIDE
from pycryo.postprocessing.local_figures import (
    LocalSections,
    colour_range,
    local_histogram_figure,
    local_resolution_figure,
)
from pycryo.postprocessing.local_resolution import QUANTILES, LocalResolution
from pycryo.report.figures import png

NAME = "localres"
# Of the mask's volume: what the surface of the command file holds.
_SHOWN = 0.4


def write_local_resolution(
    folder: Path,
    found: LocalResolution,
    filtered: SlabMap,
    figures: dict[str, Any],
    place: Place | None = None,
) -> None:
    """Write the maps localres.mrc, _filtered and _mask, .json, .png, .cxc and localres_histogram.png. Collective.

    Parameters
    ----------
    folder : Path
    found : LocalResolution
    filtered : SlabMap
        Of `pycryo.postprocessing.local_filter.locally_filtered`.
    figures : dict
        More for the JSON file.
    place : Place, optional
        Of the maps in space.
    """
    comm = filtered.comm
    write_map_slabs(folder / f"{NAME}.mrc", found.resolution, place=place)
    write_map_slabs(folder / f"{NAME}_filtered.mrc", filtered, place=place)
    write_map_slabs(folder / f"{NAME}_mask.mrc", SlabMap(comm, found.mask, filtered.pixel_size), place=place)
    sections = LocalSections.of(found, filtered)
    level = surface_level(found, filtered)

    def write() -> None:
        told = summary(found) | {"surface_level": level} | figures
        low, high = colour_range(told)
        write_object(folder / f"{NAME}.json", told)
        write_bytes(folder / f"{NAME}.png", png(local_resolution_figure(sections, low, high)))
        write_bytes(folder / f"{NAME}_histogram.png", png(local_histogram_figure(told)))
        commands = colour_by_resolution(f"{NAME}_filtered.mrc", f"{NAME}.mrc", level, low, high)
        write_text(folder / f"{NAME}.cxc", commands)

    on_root(comm, write)


def surface_level(found: LocalResolution, density: SlabMap) -> float:
    """Grey value of a surface that holds 0.4 of the mask's volume. Collective."""
    inside = [plane[at > INSIDE] for plane, at in zip(density.data, found.mask, strict=True)]
    return float(quantiles(density.comm, inside, (1 - _SHOWN,))[0])


def summary(found: LocalResolution) -> dict[str, Any]:
    """The figures of a local resolution, for a JSON file."""
    return {
        "threshold": found.threshold,
        "window": found.window,
        "step": found.step,
        "windows": found.n_window,
        "windows_doubled": found.n_doubled,
        "finest_possible": found.finest,
        "resolution_whole": found.fsc.resolution_0143,
        "quantiles": {f"{100 * share:g}": value for share, value in zip(QUANTILES, found.quantiles, strict=True)},
        "histogram": {"edges": np.round(found.edges, 4).tolist(), "voxels": found.counts.tolist()},
    }
