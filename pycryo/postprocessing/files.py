"""Files of a sharpened map, under the names that relion_postprocess gives them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.atomic import write_bytes
from pycryo.io.json_file import fitting, write_object
from pycryo.io.mrc import write_map
from pycryo.io.mrc_header import Place
from pycryo.io.star import read_tables, write_star
from pycryo.io.table import Table, make_table
from pycryo.maps.density import Map
from pycryo.postprocessing.figures import guinier_figure
from pycryo.postprocessing.guinier import Line
from pycryo.postprocessing.process import PostprocessResult
from pycryo.postprocessing.sharpen import Guinier
from pycryo.report.figures import png
from pycryo.report.fsc_files import fsc_figure, fsc_table, write_fsc_xml

# RELION's number where there is no amplitude.
_NONE = -99.0
_COLUMNS = {
    "rlnResolutionSquared": "squared",
    "rlnLogAmplitudesOriginal": "original",
    "rlnLogAmplitudesMTFCorrected": "mtf_corrected",
    "rlnLogAmplitudesWeighted": "weighted",
    "rlnLogAmplitudesSharpened": "sharpened",
}
_FIT = ("rlnFittedSlopeGuinierPlot", "rlnFittedInterceptGuinierPlot", "rlnCorrelationFitGuinierPlot")


def write_result(
    prefix: Path,
    result: PostprocessResult,
    halves: tuple[Path, Path],
    mask: Path | None = None,
    *,
    place: Place | None = None,
    pictures: bool = True,
) -> dict[str, object]:
    """Write PREFIX.mrc, PREFIX_masked.mrc, PREFIX.star, PREFIX_fsc.xml, PREFIX.json and, if wanted, the plots.

    Parameters
    ----------
    prefix : Path
        Folder and beginning of the names.
    result : PostprocessResult
    halves : two Path
        Files of the half-maps.
    mask : Path, optional
        File of the mask; without one PREFIX_mask.mrc is written.
    place : Place, optional
        Of the maps in space.
    pictures : bool
        Write PREFIX_fsc.png and PREFIX_guinier.png.

    Returns
    -------
    dict
        The figures in PREFIX.json.

    Raises
    ------
    InputError, RunError
        If a file cannot be written.
    """

    def named(suffix: str) -> Path:
        return prefix.with_name(prefix.name + suffix)

    pixel_size = result.map.pixel_size
    write_map(named(".mrc"), result.map.data, pixel_size, place)
    write_map(named("_masked.mrc"), result.masked.data, pixel_size, place)
    if mask is None:
        mask = named("_mask.mrc")
        write_map(mask, result.mask.data, pixel_size, place)
    names = {
        "rlnUnfilteredMapHalf1": os.fspath(halves[0]),
        "rlnUnfilteredMapHalf2": os.fspath(halves[1]),
        "rlnPostprocessedMap": os.fspath(named(".mrc")),
        "rlnPostprocessedMapMasked": os.fspath(named("_masked.mrc")),
        "rlnMaskName": os.fspath(mask),
    }
    write_postprocess_star(named(".star"), result, names)
    write_fsc_xml(named("_fsc.xml"), result.fsc)
    if pictures:
        write_bytes(named("_fsc.png"), png(fsc_figure(result.fsc)))
        write_bytes(named("_guinier.png"), png(guinier_figure(result.guinier, result.b_factor)))
    figures = figures_of(result) | {"map": named(".mrc").name, "mask": os.fspath(mask.resolve())}
    write_object(named(".json"), figures)
    return figures


def write_postprocess_star(path: Path, result: PostprocessResult, names: dict[str, str]) -> None:
    """Write RELION's tables general, fsc and guinier, atomically; `names` are the files that `general` tells of."""
    fsc, line = result.fsc, result.guinier.line
    general: dict[str, object] = {
        "rlnFinalResolution": result.resolution,
        "rlnBfactorUsedForSharpening": result.b_factor or 0.0,
        **names,
        "rlnParticleBoxFractionSolventMask": _box_over_mask(result.mask),
    }
    if fsc.randomised_from < len(fsc.masked):
        general["rlnRandomiseFrom"] = fsc.resolution[fsc.randomised_from]
    if line is not None:
        general |= dict(zip(_FIT, (line.slope, line.intercept, line.correlation), strict=True))
    write_star(path, {"general": general, "fsc": fsc_table(fsc), "guinier": make_table(_guinier(result))})


def _box_over_mask(mask: Map) -> float:
    """What RELION 3.1.3 writes as the fraction: 0.476 of the box, about the ball in it, over the mask above 0.5."""
    return 0.476 * mask.box**3 / max(1, int(np.count_nonzero(mask.data > 0.5)))


def _guinier(result: PostprocessResult) -> dict[str, NDArray[np.float64]]:
    """Columns of the table, without shell 0."""
    plot = result.guinier
    columns = {label: getattr(plot, name) for label, name in _COLUMNS.items()}
    if plot.mtf_corrected is None:
        del columns["rlnLogAmplitudesMTFCorrected"]
    if result.b_factor is None:
        del columns["rlnLogAmplitudesSharpened"]
    if plot.line is not None:
        columns["rlnLogAmplitudesIntercept"] = np.full(len(plot.squared), plot.line.intercept)
    return {name: np.where(np.isfinite(values), values, _NONE)[1:] for name, values in columns.items()}


def read_guinier(path: Path) -> tuple[Guinier, float | None]:
    """The Guinier plot of a file that `write_postprocess_star` wrote, and the B-factor used, Å².

    Raises
    ------
    InputError
        If the file cannot be read or has no such table.
    """
    tables = read_tables(path)
    table, general = tables.get("guinier"), tables.get("general")
    if not isinstance(table, Table) or not isinstance(general, dict):
        raise InputError(f"{path} has no tables data_general and data_guinier; run `pycryo postprocess`")
    needed = ("rlnResolutionSquared", "rlnLogAmplitudesOriginal", "rlnLogAmplitudesWeighted")
    found = table.values([*needed, *(each for each in table.columns if each in _COLUMNS and each not in needed)])
    curves = {_COLUMNS[name]: np.where(values == _NONE, np.nan, values) for name, values in found.items()}
    if "sharpened" not in curves:
        curves["sharpened"] = curves["weighted"]
    curves = {name: np.append(0.0, values) for name, values in curves.items()}  # shell 0, which the table lacks
    with fitting(path, "run `pycryo postprocess`"):
        is_sharpened = "rlnLogAmplitudesSharpened" in table.columns
        b_factor = float(general["rlnBfactorUsedForSharpening"]) if is_sharpened else None
        slope, intercept, correlation = (float(general.get(label, np.nan)) for label in _FIT)
    line = None if np.isnan(slope) else Line(slope, intercept, correlation, 0)
    names = ("squared", "original", "weighted", "sharpened")
    squared, original, weighted, sharpened = (curves[name] for name in names)
    return Guinier(squared, original, curves.get("mtf_corrected"), weighted, sharpened, line), b_factor


def figures_of(result: PostprocessResult) -> dict[str, object]:
    """What run.json and PREFIX.json tell: Å, Å²."""
    line, fsc = result.guinier.line, result.fsc
    return {
        "resolution": result.resolution,
        "returned_resolution": result.returned_resolution,
        "b_factor": result.b_factor,
        "guinier_correlation": None if line is None else line.correlation,
        "randomised_from": float(fsc.resolution[fsc.randomised_from])
        if fsc.randomised_from < len(fsc.masked)
        else None,
        "has_mtf": result.guinier.mtf_corrected is not None,
        "seed": result.seed,
    }
