"""A finished refinement in another folder, its maps and poses mirrored or turned together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycryo.cli.folder_run import FolderRun
from pycryo.io.atomic import write_bytes
from pycryo.io.json_file import write_object
from pycryo.io.mrc import read_map, read_place, write_map
from pycryo.io.selection import ParticleTable, read_particle_table
from pycryo.maps.density import Map
from pycryo.refinement.files.finished_run import FinishedRun
from pycryo.refinement.files.half_maps import class_name
from pycryo.refinement.files.job import remove_results


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to a run.

    Attributes
    ----------
    of_map : callable
        The new map of an old one; masks come back within 0 and 1.
    of_poses : callable
        Writes the particles with new poses to a path.
    told : dict
        For run.json, under "frame".
    turns_hand : bool
        Whether the hand of the Ewald sphere changes.
    """

    of_map: Callable[[Map], Map]
    of_poses: Callable[[Path, ParticleTable], None]
    told: dict[str, Any]
    turns_hand: bool = False


def change_run(job: FolderRun, source: FinishedRun, change: Change) -> None:
    """Write maps, half-maps, masks, poses, FSC and run.json of a run into the folder of `job`, changed.

    What an earlier run left there is removed first. Sharpened maps are not among them: `pycryo postprocess` makes them.
    """
    assert job.folder is not None
    out = job.folder.path
    remove_results(out)
    for k in range(1, source.classes + 1):
        mask = source.mask_of(k)
        for path in (source.folder / f"run_class{k:03d}.mrc", *source.half_maps_of(k), *([mask] if mask else [])):
            old = read_map(path)
            new = change.of_map(old).data
            if path.stem == class_name("run_mask", k):
                new = new.clip(0, 1)
            write_map(out / path.name, new, old.pixel_size, read_place(path, old.pixel_size))
    change.of_poses(out / "run_data.star", read_particle_table(source.particles))
    for path in (*source.curves(), *source.folder.glob("run_phases_*.png")):  # what any frame leaves as it is
        write_bytes(out / path.name, path.read_bytes())
    kept = {name: value for name, value in source.told.items() if name != "postprocess"}
    told = kept | {"frame": {"run": str(source.folder.resolve())} | change.told}
    options = dict(source.options)
    if change.turns_hand and isinstance(options.get("ewald_hand"), int):
        told["options"] = options | {"ewald_hand": -options["ewald_hand"]}
    write_object(out / "run.json", told)
