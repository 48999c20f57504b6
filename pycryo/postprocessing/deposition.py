"""The files of a deposition at EMDB, checked against each other, and what is known of the entry."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.atomic import write_bytes, write_text
from pycryo.io.json_file import write_object
from pycryo.io.mrc import read_map, read_mask
from pycryo.io.mrc_header import read_header
from pycryo.maps.density import Map
from pycryo.postprocessing.contour import contour_level, molecule_volume
from pycryo.postprocessing.process import measured_fsc
from pycryo.report.isosurface import isosurface, png_of

PRIMARY, HALVES, MASK, FSC, IMAGE = (
    "primary_map.mrc",
    ("half_map_1.mrc", "half_map_2.mrc"),
    "mask.mrc",
    "fsc.xml",
    "image.png",
)
CHECKLIST = "checklist"
# Pixels along an edge: EMDB's.
IMAGE_SIZE = 500
# Difference of two curves of the same half-maps, mask and seed: files have six decimals, transforms single precision.
_SAME_FSC = 1e-3
_AGAIN = "run `pycryo postprocess` again and give its folder with --postprocessed"
TO_FILL_IN = (
    "title, authors, contact, citation, funding",
    "sample: name, molecular weight, organism, expression system, sequence of each macromolecule",
    "specimen: concentration, buffer and pH, grid, vitrification (instrument, cryogen, temperature, humidity)",
    "microscope: model, electron source, illumination mode, holder, objective aperture, energy filter",
    "images: detector and its mode, dose per image (e⁻/Å²), exposure time, frames, magnification, micrographs",
    "software before pycryo: motion correction, CTF estimation, particle picking, classification",
    "how the initial model was made; whether the hand is the right one",
    "atomic model: PDB entry, method and software of the fit, or none",
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Files that a deposition is made of.

    Attributes
    ----------
    primary : Path
        The sharpened map.
    halves : two Path
        As they were reconstructed.
    mask : Path
        Of the FSC.
    fsc : Path
        EMDB's XML of the corrected curve.
    seed : int
        Of the random phases of that curve.
    """

    primary: Path
    halves: tuple[Path, Path]
    mask: Path
    fsc: Path
    seed: int


@dataclass(frozen=True, slots=True)
class Deposition:
    """The maps, read and checked, and the levels at which they are shown.

    Attributes
    ----------
    sources : Sources
    primary : Map
    mask : (N, N, N) float32
    volume : float
        Å³ that the contours enclose.
    levels : three floats
        Contour levels of the primary map and of the half-maps.
    checks : dict of str to str
        What was found to hold.
    """

    sources: Sources
    primary: Map
    mask: NDArray[np.float32]
    volume: float
    levels: tuple[float, float, float]
    checks: dict[str, str]


def examine(sources: Sources, *, level: float | None = None, mass: float | None = None) -> Deposition:
    """Read the files and check them against each other.

    Parameters
    ----------
    sources : Sources
    level : float, optional
        Contour level of the primary map. Default: that at which it encloses the molecule's volume.
    mass : float, optional
        Of the molecule, kDa, for its volume. Default: a third of the mask's volume.

    Raises
    ------
    InputError
        If a file cannot be read, if maps differ in box, pixel size or place, if the half-maps are one map, if a
        header's statistics are not those of its map, or if the FSC of the half-maps in the mask is not that of the XML.
    """
    maps = [read_map(path) for path in (sources.primary, *sources.halves)]
    primary, first, second = maps
    mask = read_mask(sources.mask)
    for path, each in zip((*sources.halves, sources.mask), (first, second, mask), strict=True):
        _check_grid(sources.primary, primary, path, each)
    if np.array_equal(first.data, second.data):
        raise InputError(f"{sources.halves[0]} and {sources.halves[1]} are the same map: EMDB takes two half-maps")
    for path, each in zip((sources.primary, *sources.halves), maps, strict=True):
        _check_statistics(path, each)
    told = read_fsc_xml(sources.fsc)
    found = measured_fsc(first, second, mask.data, sources.seed)
    if told.shape != (len(found.corrected), 2) or not np.allclose(told[:, 0], found.frequency, atol=1e-5):
        raise InputError(f"{sources.fsc} has other frequencies than the half-maps: {_AGAIN}")
    difference = float(np.abs(told[:, 1] - found.corrected).max())
    if not difference <= _SAME_FSC:
        raise InputError(
            f"the FSC of the half-maps inside {sources.mask} differs from {sources.fsc} by {difference:.3f}: they were "
            f"changed since it was measured; {_AGAIN}"
        )
    volume = molecule_volume(mask.data, primary.pixel_size, mass)
    if level is not None:
        volume = float(np.count_nonzero(primary.data[mask.data >= 0.5] > level)) * primary.pixel_size**3
        if not volume > 0:
            raise InputError(
                f"no voxel of {sources.primary} in the mask is above --contour {level:g}: give a lower level"
            )
    levels = [contour_level(each, mask.data, volume) for each in maps]
    if level is not None:
        levels[0] = level
    checks = {
        "same grid": f"all maps and the mask have {primary.box} px of {primary.pixel_size:.5g} Å, at the same place",
        "two half-maps": "they differ, and are as they were reconstructed",
        "headers": "minimum, maximum, mean and deviation are those of the maps",
        "FSC": f"of the half-maps inside the mask: as in the XML to {max(difference, 1e-6):.0e}",
    }
    return Deposition(sources, primary, mask.data, volume, (levels[0], levels[1], levels[2]), checks)


def write_deposition(folder: Path, found: Deposition, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write maps, XML, picture and checklist.

    Parameters
    ----------
    folder : Path
        Exists.
    found : Deposition
    facts : mapping
        What the checklist says of the run, by the name of each part.

    Returns
    -------
    dict
        The checklist.
    """
    sources = found.sources
    files = {PRIMARY: sources.primary, HALVES[0]: sources.halves[0], HALVES[1]: sources.halves[1], MASK: sources.mask}
    for name, source in (files | {FSC: sources.fsc}).items():
        write_bytes(folder / name, source.read_bytes())
    picture = isosurface(found.primary.data * found.mask, found.levels[0], IMAGE_SIZE)
    write_bytes(folder / IMAGE, png_of(picture))
    names = (PRIMARY, *HALVES)
    checklist = {
        "files": {
            name: {"from": str(files[name]), "contour_level": level}
            for name, level in zip(names, found.levels, strict=True)
        }
        | {
            MASK: {"from": str(sources.mask)},
            FSC: {"from": str(sources.fsc)},
            IMAGE: {"size": [IMAGE_SIZE, IMAGE_SIZE]},
        },
        **facts,
        "contour": {"enclosed_volume": found.volume},
        "checks": found.checks,
        "to_fill_in": list(TO_FILL_IN),
    }
    write_object(folder / f"{CHECKLIST}.json", checklist)
    write_text(folder / f"{CHECKLIST}.md", markdown(checklist))
    return checklist


def markdown(checklist: Mapping[str, Any]) -> str:
    """The checklist as text."""
    lines = ["# EMDB deposition", "", "## Files", "", "| file | contour level | from |", "|---|---|---|"]
    for name, each in checklist["files"].items():
        level = f"{each['contour_level']:.4g}" if "contour_level" in each else ""
        lines.append(f"| `{name}` | {level} | {each.get('from', 'surface of the primary map at its contour level')} |")
    lines += ["", f"The contours enclose {checklist['contour']['enclosed_volume']:.0f} Å³."]
    for part, values in checklist.items():
        if part in ("files", "contour", "checks", "to_fill_in"):
            continue
        lines += ["", f"## {part.replace('_', ' ').capitalize()}", ""]
        lines += [f"- {name.replace('_', ' ')}: {_text(value)}" for name, value in values.items()]
    lines += ["", "## Checked", "", *(f"- [x] {name}: {text}" for name, text in checklist["checks"].items())]
    lines += ["", "## You still have to fill in", "", *(f"- [ ] {text}" for text in checklist["to_fill_in"])]
    return "\n".join(lines) + "\n"


def read_fsc_xml(path: Path) -> NDArray[np.float64]:
    """(n, 2) 1/Å and FSC of EMDB's XML.

    Raises
    ------
    InputError
        If it cannot be read or is none.
    """
    try:
        root = ET.fromstring(path.read_text("utf-8"))
        return np.array([[float(point.findtext(axis) or "nan") for axis in "xy"] for point in root.iter("coordinate")])
    except (OSError, UnicodeDecodeError, ET.ParseError, ValueError) as error:
        raise InputError(f"{path} cannot be read as EMDB's FSC file ({error}): {_AGAIN}") from error


def _text(value: Any) -> str:
    if value is None:
        return "**to be filled in**"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _check_grid(path: Path, primary: Map, other_path: Path, other: Map) -> None:
    if primary.box != other.box or abs(primary.pixel_size - other.pixel_size) > 1e-4 * primary.pixel_size:
        raise InputError(
            f"{path} ({primary.box} px of {primary.pixel_size:g} Å) and {other_path} ({other.box} px of "
            f"{other.pixel_size:g} Å) differ: EMDB takes maps of one grid; {_AGAIN}"
        )
    if read_header(path).place != read_header(other_path).place:
        raise InputError(f"{path} and {other_path} have different origins in their headers: {_AGAIN}")


def _check_statistics(path: Path, source: Map) -> None:
    """Compare the header's numbers, by which EMDB and viewers judge contour levels, with the map's."""
    header = np.fromfile(path, "<f4", 55)
    data = source.data.astype(np.float64)
    found = np.array([data.min(), data.max(), data.mean(), data.std()])
    told = header[[19, 20, 21, 54]].astype(np.float64)
    if not np.allclose(told, found, rtol=1e-3, atol=1e-3 * data.std()):
        raise InputError(
            f"{path}: minimum, maximum, mean and deviation in the header are not those of the map: {_AGAIN}"
        )
