"""Optics groups: what images of one microscope setting share, from any version of RELION's STAR files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.aberrations import LABELS, group_values, number_list, stated
from pycryo.io.table import Table, make_table

PIXEL_LABELS = ("rlnImagePixelSize", "rlnPixelSize", "rlnDetectorPixelSize", "rlnMagnification")
SHARED_LABELS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
MOVED_LABELS = frozenset((*PIXEL_LABELS, *SHARED_LABELS, *LABELS, "rlnImageSize", "rlnImageDimensionality"))


@dataclass(frozen=True, slots=True, eq=False)
class OpticsGroups:
    """Optics groups that have images; all arrays (g,).

    Attributes
    ----------
    name : tuple of str
    number : int32
        rlnOpticsGroup.
    pixel_size : float64
        Å; NaN where unknown (only if the stacks were not read).
    box : int64
        Side of the images, px; 0 where unknown (only if the stacks were not read).
    voltage, spherical_aberration, amplitude_contrast : float64
        kV, mm, fraction; NaN where the file does not say.
    beam_tilt : (g, 2) float64
        mrad.
    odd_zernike, even_zernike : tuples of tuples of float
        Coefficients of each group, see `pycryo.geometry.aberrations`.
    magnification : (g, 2, 2) float64
        M: frequency k of an image is M k in the undistorted one.
    is_premultiplied, is_phase_flipped : (g,) bool
        The images were multiplied by their CTF, or by its sign.
    """

    name: tuple[str, ...]
    number: NDArray[np.int32]
    pixel_size: NDArray[np.float64]
    box: NDArray[np.int64]
    voltage: NDArray[np.float64]
    spherical_aberration: NDArray[np.float64]
    amplitude_contrast: NDArray[np.float64]
    beam_tilt: NDArray[np.float64]
    odd_zernike: tuple[tuple[float, ...], ...]
    even_zernike: tuple[tuple[float, ...], ...]
    magnification: NDArray[np.float64]
    is_premultiplied: NDArray[np.bool_]
    is_phase_flipped: NDArray[np.bool_]

    @property
    def has_odd(self) -> NDArray[np.bool_]:
        """Groups whose images have antisymmetric phase errors."""
        return np.array([any(each) for each in self.odd_zernike], bool) | self.beam_tilt.any(axis=1)

    @property
    def has_even(self) -> NDArray[np.bool_]:
        """Groups whose CTF has symmetric aberrations beside Cs."""
        return np.array([any(each) for each in self.even_zernike], bool)

    @property
    def kinds(self) -> set[str]:
        """Corrections that the groups state, of `pycryo.io.aberrations.KINDS`."""
        stated = {
            "beam-tilt": self.beam_tilt.any(),
            "odd-zernike": any(any(each) for each in self.odd_zernike),
            "even-zernike": self.has_even.any(),
            "magnification": self.is_distorted.any(),
            "premultiplied": self.is_premultiplied.any(),
            "phase-flipped": self.is_phase_flipped.any(),
        }
        return {name for name, is_there in stated.items() if is_there}

    @property
    def is_distorted(self) -> NDArray[np.bool_]:
        """Groups with a magnification other than 1."""
        return np.asarray((self.magnification != np.eye(2)).any(axis=(1, 2)))

    @property
    def geometry(self) -> NDArray[np.int64]:
        """(g,) number of each group's geometry: images of one share slices and sampling."""
        columns = (self.box, self.pixel_size, *self.magnification.reshape(-1, 4).T, self.is_premultiplied)
        _, found = np.unique(np.stack(columns, axis=1).astype(np.float64), axis=0, return_inverse=True)
        return np.asarray(found.reshape(-1), np.int64)

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Optics:
    """Result of `resolve_optics`: the groups, each particle's group, the table to write, whether numbers changed."""

    groups: OpticsGroups
    group: NDArray[np.int32]
    table: Table
    is_renumbered: bool


def updated_table(table: Table, before: OpticsGroups, after: OpticsGroups, anew: Collection[str] = ()) -> Table:
    """An optics table with the aberrations of `after`.

    What is as in `before` stays to the letter, but for columns `anew`, which do not say what was in `before`.
    """
    rows = np.arange(len(after)).tolist()
    if "rlnOpticsGroup" in table.columns:
        numbers = table.values(["rlnOpticsGroup"])["rlnOpticsGroup"]
        rows = [int(np.flatnonzero(numbers == each)[0]) for each in after.number]
    columns: dict[str, ArrayLike] = {}
    for label in LABELS:
        pairs = [(text_of(before, g, label), text_of(after, g, label)) for g in range(len(after))]
        is_anew = label in anew and label in table.columns
        changes = {row: new for row, (old, new) in zip(rows, pairs, strict=True) if new != old or is_anew}
        if changes:
            texts = (
                table.values(texts=[label])[label]
                if label in table.columns
                else np.array([text_of(None, 0, label)] * table.n, object)
            )
            columns[label] = np.array([changes.get(row, text) for row, text in enumerate(texts.tolist())], object)
    return table.with_columns(columns) if columns else table


def text_of(groups: OpticsGroups | None, g: int, label: str) -> str:
    """The value of a column of `pycryo.io.aberrations.LABELS` for a group; None: of one without aberrations."""
    if label in ("rlnOddZernike", "rlnEvenZernike"):
        values = () if groups is None else (groups.odd_zernike if label == "rlnOddZernike" else groups.even_zernike)[g]
        values = values or (0.0,) * (6 if label == "rlnOddZernike" else 9)
        return "[" + ",".join(f"{value:.9g}" for value in values) + "]"
    if label.startswith("rlnBeamTilt"):
        return f"{0.0 if groups is None else groups.beam_tilt[g]['XY'.index(label[-1])]:.6f}"
    if label.startswith("rlnMagMat"):
        place = int(label[-2]), int(label[-1])
        return f"{float(place[0] == place[1]) if groups is None else groups.magnification[g][place]:.6f}"
    flags = None if groups is None else (groups.is_premultiplied if "Pre" in label else groups.is_phase_flipped)
    return str(int(flags is not None and bool(flags[g])))


def optics_labels(table: Table) -> list[str]:
    """Columns of the particle table that can say something about the optics."""
    return [name for name in ("rlnOpticsGroup", *sorted(MOVED_LABELS - set(LABELS))) if name in table.columns]


def refuse_volumes(path: Path, tables: tuple[Table | None, ...]) -> None:
    """Refuse sub-tomograms.

    Raises
    ------
    InputError
        If rlnImageDimensionality is not 2.
    """
    label = "rlnImageDimensionality"
    for table in tables:
        if table is not None and label in table.columns:
            texts = dict.fromkeys(table.values(texts=[label])[label].tolist())
            if any(number_list(text, label, path) != [2.0] for text in texts):
                raise InputError(f"{path}: {label} is not 2; pycryo needs 2D images, not sub-tomograms")


def resolve_optics(
    path: Path,
    optics: Table | None,
    particles: Table,
    columns: Mapping[str, NDArray[Any]],
    header_box: NDArray[np.int64] | None,
    header_pixel_size: NDArray[np.float64] | None,
    ignored: Collection[str],
    findings: Findings,
) -> Optics:
    """Find the optics group of each particle.

    Values come from the optics table, else from the particle table (RELION 3.0: groups are the distinct
    combinations), else, for box and pixel size, from the headers of the stacks with a warning.

    Parameters
    ----------
    path : Path
        The STAR file, for messages.
    optics : Table or None
    particles : Table
    columns : mapping
        Columns `optics_labels` of the particle table as float64 (n,).
    header_box, header_pixel_size : (n,) or None
        px and Å (0 where unknown) by the stack of each particle; None if the stacks were not read.
    ignored : collection of str
        Of `pycryo.io.aberrations.KINDS`: left out.
    findings : Findings
        Gets a warning for what had to be assumed.
    """
    if optics is not None and not optics.n:
        optics = None
    base, numbers, fixed = _base_groups(path, optics, particles, columns)
    n = len(base)
    by_particle: dict[str, NDArray[np.float64]] = {}
    inferred = {}
    for name in SHARED_LABELS:
        by_particle[name] = fixed[name][base] if name in fixed else columns.get(name, np.full(n, np.nan))
    pixel_size = fixed["rlnImagePixelSize"][base] if "rlnImagePixelSize" in fixed else _pixel_size(columns)
    if pixel_size is None:
        pixel_size = np.full(n, np.nan) if header_pixel_size is None else header_pixel_size
        inferred["rlnImagePixelSize"] = header_pixel_size is not None
        has_microscope = all(np.isfinite(by_particle[label]).all() for label in SHARED_LABELS)
        if header_pixel_size is not None and not header_pixel_size.any() and not has_microscope:
            text = f"{path} and its stacks have no pixel size; 1 Å is assumed: put it into rlnImagePixelSize"
            findings.warn("pixel size", text)
            pixel_size, inferred["rlnImagePixelSize"] = np.ones(n), False
    if np.any(bad := ~(pixel_size > 0)) and (header_pixel_size is not None or not np.isnan(pixel_size).all()):
        row = int(np.argmax(bad))
        source = "the MRC header has no pixel size" if inferred else f"the pixel size is {pixel_size[row]:g}"
        raise InputError(f"{path}, row {row + 1}: {source}; put the pixel size in Å into rlnImagePixelSize")
    by_particle["rlnImagePixelSize"] = pixel_size
    box = fixed["rlnImageSize"][base] if "rlnImageSize" in fixed else columns.get("rlnImageSize")
    if box is None:
        box = header_box.astype(np.float64) if header_box is not None else np.zeros(n)
        inferred["rlnImageSize"] = header_box is not None
    if np.any(bad := ~_is_whole(box, 0)):
        row = int(np.argmax(bad))
        raise InputError(f"{path}, row {row + 1}: rlnImageSize is {box[row]:g}, not a number of pixels; correct it")
    by_particle["rlnImageSize"] = box
    for name in (name for name, known in inferred.items() if known):
        findings.warn("headers", f"{path} has no {name}; it is taken from the MRC headers")
    of_optics = stated(path, optics, ignored)
    of_particles = stated(path, particles, ignored)
    further = {label: texts for label, texts in of_particles.items() if label not in of_optics}
    return _grouped(path, optics, numbers, base, fixed, by_particle, inferred, of_optics, further)


def _base_groups(
    path: Path, optics: Table | None, particles: Table, columns: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int32], dict[str, NDArray[np.float64]]]:
    """Row of the optics table of each particle, numbers of the rows, and the columns of the optics table."""
    if optics is None:
        return np.zeros(particles.n, np.int64), np.ones(1, np.int32), {}
    wanted = ("rlnOpticsGroup", "rlnImagePixelSize", "rlnImageSize", *SHARED_LABELS)
    fixed = dict(optics.values([name for name in wanted if name in optics.columns]))
    numbers = fixed.pop("rlnOpticsGroup", np.arange(1.0, optics.n + 1))
    if np.any(bad := ~_is_whole(numbers, -(2**31))):
        shown = numbers[bad][0]
        raise InputError(f"{path}: rlnOpticsGroup of data_optics is {shown:g}, not a whole number; correct it")
    order = np.argsort(numbers)
    if len(np.unique(numbers)) < len(numbers):
        raise InputError(f"{path}: a number occurs twice in rlnOpticsGroup of data_optics; give each group its own")
    if "rlnOpticsGroup" not in columns:
        if optics.n > 1:
            raise InputError(
                f"{path}: the particles have no rlnOpticsGroup, but data_optics has {optics.n}; add the column"
            )
        return np.zeros(particles.n, np.int64), numbers.astype(np.int32), fixed
    wanted_numbers = columns["rlnOpticsGroup"]
    place = np.minimum(np.searchsorted(numbers[order], wanted_numbers), optics.n - 1)
    base = order[place]
    if np.any(bad := numbers[base] != wanted_numbers):
        row = int(np.argmax(bad))
        raise InputError(f"{path}, row {row + 1}: optics group {wanted_numbers[row]:g} is not in data_optics; add it")
    return base, numbers.astype(np.int32), fixed


def _is_whole(values: NDArray[np.float64], least: int) -> NDArray[np.bool_]:
    """Which values are whole numbers from `least` to what 32 bits hold."""
    return np.asarray((values >= least) & (values < 2**31) & (values == np.floor(values)))


def _pixel_size(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    """Pixel size in Å from the particle table; RELION 3.0 has the detector's in µm and the magnification."""
    for name in ("rlnImagePixelSize", "rlnPixelSize"):
        if (found := columns.get(name)) is not None:
            return np.asarray(found, np.float64)
    if "rlnDetectorPixelSize" in columns and "rlnMagnification" in columns:
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.asarray(1e4 * columns["rlnDetectorPixelSize"] / columns["rlnMagnification"], np.float64)
        return np.where(np.isfinite(size), size, 0.0)
    return None


def _grouped(
    path: Path,
    optics: Table | None,
    numbers: NDArray[np.int32],
    base: NDArray[np.int64],
    fixed: Mapping[str, NDArray[np.float64]],
    by_particle: Mapping[str, NDArray[np.float64]],
    inferred: Mapping[str, bool],
    of_optics: Mapping[str, NDArray[Any]],
    further: Mapping[str, NDArray[Any]],
) -> Optics:
    """Number the distinct combinations, in the order of the optics table.

    `of_optics` are the columns of aberrations in the optics table, `further` those that the particles have instead.
    """
    code = base
    for label, column in {**by_particle, **further}.items():
        if label not in fixed:
            distinct, inverse = np.unique(column, return_inverse=True)
            code = np.unique(code * len(distinct) + inverse, return_inverse=True)[1]
    _, first, group = np.unique(code, return_index=True, return_inverse=True)
    rows = base[first]
    is_renumbered = optics is None or "rlnOpticsGroup" not in optics.columns or len(np.unique(rows)) < len(rows)
    number = np.arange(1, len(rows) + 1, dtype=np.int32) if is_renumbered else numbers[rows]
    values = {label: column[first] for label, column in by_particle.items()}
    name = tuple(f"opticsGroup{i}" for i in number)
    if optics is not None and "rlnOpticsGroupName" in optics.columns and not is_renumbered:
        name = tuple(optics.values(texts=["rlnOpticsGroupName"])["rlnOpticsGroupName"][rows])
    moved = {label: texts[first] for label, texts in further.items()}
    groups = OpticsGroups(
        name,
        number,
        values["rlnImagePixelSize"],
        values["rlnImageSize"].astype(np.int64),
        values["rlnVoltage"],
        values["rlnSphericalAberration"],
        values["rlnAmplitudeContrast"],
        **group_values(path, {label: texts[rows] for label, texts in of_optics.items()} | moved, len(rows)),
    )
    unknown = ~np.isfinite(groups.voltage) | ~np.isfinite(groups.spherical_aberration)
    if np.any(groups.beam_tilt.any(axis=1) & unknown):
        raise InputError(
            f"{path} has a beam tilt, for which rlnVoltage and rlnSphericalAberration are needed; add them, or go on "
            "without by --ignore-optics beam-tilt"
        )
    added: dict[str, ArrayLike] = dict(moved)
    if is_renumbered:
        added |= {"rlnOpticsGroup": number, "rlnOpticsGroupName": np.array(name, object)}
    known = {label: v for label, v in values.items() if label not in fixed and np.all(np.isfinite(v))}
    added |= {label: v for label, v in known.items() if label in SHARED_LABELS or np.all(v > 0)}
    if "rlnImageSize" in added:
        added["rlnImageSize"] = groups.box
    if optics is None:
        added["rlnImageDimensionality"] = np.full(len(rows), 2)
        if "rlnImagePixelSize" in added:
            added["rlnMicrographOriginalPixelSize"] = groups.pixel_size
        table = make_table(added, "data_optics")
    else:
        table = optics.with_columns(added, rows=rows) if added else optics
    return Optics(groups, group.astype(np.int32), table, is_renumbered)
