"""The sharpened map of each class of a finished run."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pycryo.errors import InputError
from pycryo.geometry.symmetry import symmetry
from pycryo.io.json_file import read_object, write_object
from pycryo.io.mrc import read_map, read_mask, read_place
from pycryo.io.star import read_tables
from pycryo.io.table import Table
from pycryo.maps.density import Map
from pycryo.maps.returned import Band
from pycryo.memory import memory
from pycryo.postprocessing.files import write_result
from pycryo.postprocessing.mtf import Mtf, read_mtf
from pycryo.postprocessing.process import PostprocessOptions, PostprocessResult, postprocess
from pycryo.postprocessing.sharpen import Filter
from pycryo.refinement.files.finished_run import FinishedRun
from pycryo.report.gaps import told_bands

log = logging.getLogger(__name__)

# Maps in memory at the most; measured 8.3.
_MAPS_AT_ONCE = 10
_MTF_FILE = "rlnMtfFileName"
_NO_NAME = ("", "None", '""')
_PIXEL_SIZES = ("rlnMtfOriginalPixelSize", "rlnMicrographOriginalPixelSize")


def postprocess_class(
    run: FinishedRun,
    k: int,
    prefix: Path,
    options: PostprocessOptions,
    mask: Path | None = None,
    *,
    pictures: bool = True,
) -> tuple[PostprocessResult, dict[str, object]]:
    """Sharpen the map of a class and write its files.

    Parameters
    ----------
    run : FinishedRun
    k : int
        Number of the class, from 1.
    prefix : Path
        See `pycryo.postprocessing.files.write_result`.
    options : PostprocessOptions
        `order` is that of the run's symmetry.
    mask : Path, optional
        Default: that of the run, or made.
    pictures : bool

    Returns
    -------
    PostprocessResult
    dict
        Its figures.
    """
    halves = run.half_maps_of(k)
    first, second = (read_map(path) for path in halves)
    options = replace(options, order=len(symmetry(run.told.get("symmetry") or "C1")))
    if mask is None:
        mask, options = run.mask_of(k), replace(options, bands=_bands_of(run, k, first))
    result = postprocess(first, second, None if mask is None else read_mask(mask), options)
    place = read_place(halves[0], first.pixel_size)
    figures = write_result(prefix, result, halves, mask, place=place, pictures=pictures)
    return result, {"class": k} | figures


def _bands_of(run: FinishedRun, k: int, half: Map) -> tuple[Band, ...] | None:
    """Shells where the signal of a class comes back, as the refinement found inside the same mask; None: not told."""
    told = run.told.get("signal_returns")
    if not isinstance(told, list) or len(told) < k:
        return None
    return told_bands(told[k - 1], half.box * half.pixel_size)


def postprocess_run(folder: Path) -> None:
    """Sharpen the map of each class of a run that is about to end, beside the final one, and tell it in run.json.

    One process does it, which has the maps as a whole: where they do not fit into its memory, a warning says so.

    Parameters
    ----------
    folder : Path
    """
    run = FinishedRun.read(folder, "box", any_classes=True)
    needed, free = _MAPS_AT_ONCE * 4 * run.told["box"] ** 3, memory()
    if free is not None and needed > free[0]:
        log.warning(
            "no sharpened map: it takes %.1f GB and %.1f GB are free; `pycryo postprocess %s` makes it elsewhere",
            needed / 1e9, free[0] / 1e9, folder,
        )  # fmt: skip
        return
    options = PostprocessOptions(Filter(mtf=mtf_of(run)))
    figures = []
    for k in range(1, run.classes + 1):
        result, found = postprocess_class(run, k, folder / f"run_class{k:03d}_postprocess", options, pictures=False)
        figures.append(found)
        b_factor = "not sharpened" if result.b_factor is None else f"B-factor {result.b_factor:.0f} Å²"
        log.info("sharpened map: %s, %s", found["map"], b_factor)
    keep_figures(folder, figures)


def mtf_of(run: FinishedRun) -> Mtf | None:
    """The MTF that the optics table of the run's particles names; None, with a warning if it cannot be had.

    Parameters
    ----------
    run : FinishedRun
    """
    optics = read_tables(run.particles).get("optics")
    if not isinstance(optics, Table) or _MTF_FILE not in optics.columns:
        return None
    names = sorted({"" if name in _NO_NAME else name for name in optics.values(texts=[_MTF_FILE])[_MTF_FILE]})
    if names in ([], [""]):
        return None
    label = next((each for each in _PIXEL_SIZES if each in optics.columns), None)
    if label is None:
        log.warning("%s has %s but no %s: the MTF is not used, give --mtf", run.particles, _MTF_FILE, _PIXEL_SIZES[1])
        return None
    pixel_sizes = np.unique(optics.values([label])[label])
    if len(names) > 1 or len(pixel_sizes) > 1:
        log.warning("the optics groups have different MTFs, or some have none: none is used, give the map's with --mtf")
        return None
    folders = [Path(), run.folder]
    if source := (run.told.get("inputs") or {}).get("particles"):
        folders.append(Path(source).parent)
    path = next((folder / names[0] for folder in folders if (folder / names[0]).is_file()), None)
    if path is None:
        log.warning("the MTF %s of the particles is not there: it is not used, give --mtf", names[0])
        return None
    try:
        return read_mtf(path, float(pixel_sizes[0]))
    except InputError as error:
        log.warning("the MTF of the particles is not used: %s", error)
        return None


def keep_figures(folder: Path, figures: list[dict[str, object]]) -> None:
    """Write what was found into run.json, as `postprocess`, atomically."""
    path = folder / "run.json"
    told: dict[str, Any] = read_object(path, "run the refinement again")
    write_object(path, told | {"postprocess": figures})
