"""The list of files that RELION's External job shows and offers to other jobs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pycryo.io.star import write_star
from pycryo.io.table import make_table
from pycryo.refinement.files.half_maps import class_name

NODES_NAME = "RELION_OUTPUT_NODES.star"
_PIPELINE = "default_pipeline.star"
# What a file is: in RELION 5; in RELION 4, if another word; its number in RELION 3.1.
_PARTICLES = ("ParticleGroupMetadata.star.relion.refine3d", "ParticlesData.star.relion.refine3d", 3)
_MAP = ("DensityMap.mrc.relion.refine3d",) * 2 + (6,)
_HALF_MAP = ("DensityMap.mrc.relion.halfmap.refine3d",) * 2 + (10,)
_MASK = ("Mask3D.mrc.relion",) * 2 + (7,)


def write_output_nodes(folder: Path, classes: int) -> None:
    """Write ``RELION_OUTPUT_NODES.star`` for the results in the folder of a run.

    Names begin in the working folder, which is that of the RELION project; its pipeline tells the version of RELION.

    Parameters
    ----------
    folder : Path
    classes : int
        Number of classes.
    """
    files = {"run_data.star": _PARTICLES}
    for k in range(1, classes + 1):
        files[f"run_class{k:03d}.mrc"] = _MAP
        files[f"run_half1_class{k:03d}_unfil.mrc"] = _HALF_MAP
        files[f"{class_name('run_mask', k)}.mrc"] = _MASK
    place = _place_in_project(folder)
    version = _relion_version(Path(_PIPELINE))
    column = "rlnPipeLineNodeType" if version == 3 else "rlnPipeLineNodeTypeLabel"
    names = [name for name in files if (folder / name).is_file()]
    table = make_table(
        {
            "rlnPipeLineNodeName": np.array([os.fspath(place / name) for name in names], object),
            column: np.array([files[name][5 - version] for name in names]),
        }
    )
    write_star(folder / NODES_NAME, {"output_nodes": table})


def _place_in_project(folder: Path) -> Path:
    """The folder, from the working folder if it lies in that."""
    absolute = Path(os.path.abspath(folder))
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _relion_version(pipeline: Path) -> int:
    """5, 4 or 3, by the words that the pipeline of the project uses; 5 if it does not tell."""
    try:
        text = pipeline.read_text("utf-8", "replace")
    except OSError:
        return 5
    if "_rlnPipeLineNodeTypeLabel" not in text and "_rlnPipeLineNodeType" in text:
        return 3
    return 4 if "ParticlesData.star" in text and "ParticleGroupMetadata.star" not in text else 5
