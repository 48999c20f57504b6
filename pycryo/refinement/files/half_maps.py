"""Half-maps, final map and mask of each class, written by all ranks on the grid of the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pycryo.io.atomic import Later
from pycryo.io.mrc import write_map_slabs
from pycryo.maps.slab_map import resample_grid
from pycryo.refinement.outcome import Outcome


def write_maps(folder: Path, box: int, outcome: Outcome, *, keep_iterations: bool, later: Later | None = None) -> None:
    """Write the half-maps of an iteration and, after the last one, those of the result, its map and mask. Collective.

    Parameters
    ----------
    folder : Path
    box : int
        Of the images, px.
    outcome : Outcome
    keep_iterations : bool
        Write the half-maps under the number of the iteration.
    later : callable, optional
        As for `pycryo.io.atomic.atomic_path`, on rank 0.
    """
    for k, maps in enumerate(outcome.classes, 1):
        files = {}
        for number, half in enumerate(maps.half_maps, 1):
            if keep_iterations:
                files[f"run_it{outcome.record.number:03d}_half{number}_class{k:03d}.mrc"] = half
            if maps.map is not None:
                files[f"run_half{number}_class{k:03d}_unfil.mrc"] = half
        if maps.map is not None:
            files[f"run_class{k:03d}.mrc"] = maps.map
        for name, each in files.items():
            write_map_slabs(folder / name, resample_grid(each, box), later)
        if maps.map is not None:
            mask = resample_grid(maps.mask, box)
            name = f"{class_name('run_mask', k)}.mrc"
            write_map_slabs(folder / name, replace(mask, data=np.clip(mask.data, 0, 1)), later)


def class_name(name: str, k: int) -> str:
    """Name of a file without its ending, of class k = 1, 2, ...: only the further classes are numbered."""
    return name if k == 1 else f"{name}_class{k:03d}"
