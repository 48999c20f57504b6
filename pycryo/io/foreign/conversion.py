"""What the readers of all programs share: particles in RELION's terms, as the tables of a STAR file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError
from pycryo.io.table import Table, make_table

# Columns of which a value that is not finite makes the particle useless.
_FINITE = (
    *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"),
    *("rlnImagePixelSize", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"),
)


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says where a file does not.

    Attributes
    ----------
    stack : str, optional
        Name of the stack, as the STAR file shall have it.
    pixel_size, voltage, spherical_aberration, amplitude_contrast : float, optional
        Å, kV, mm, fraction.
    shifts : {"px", "angst"}, optional
        Unit of a .par file's shifts.
    """

    stack: str | None = None
    pixel_size: float | None = None
    voltage: float | None = None
    spherical_aberration: float | None = None
    amplitude_contrast: float | None = None
    shifts: str | None = None

    def __post_init__(self) -> None:
        for name in ("pixel_size", "voltage"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"--{name.replace('_', '-')} must be above 0, not {value:g}")

    def shared(self, found: Mapping[str, ArrayLike], n: int) -> dict[str, NDArray[np.float64]]:
        """The columns of the microscope (n,): as the user says, or of `found`; what neither knows is not there."""
        given = {
            "rlnImagePixelSize": self.pixel_size,
            "rlnVoltage": self.voltage,
            "rlnSphericalAberration": self.spherical_aberration,
            "rlnAmplitudeContrast": self.amplitude_contrast,
        }
        known = {label: found.get(label) if value is None else value for label, value in given.items()}
        return {
            label: np.broadcast_to(np.asarray(value, np.float64), (n,)).copy()
            for label, value in known.items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class Converted:
    """Particles of another program in RELION's terms.

    Attributes
    ----------
    path : Path
        The file, for messages.
    particles : dict of str to (n,) array
        Columns of data_particles, numbers or text.
    optics : dict of str to (g,) array
        Columns of data_optics, of each group.
    group : (n,) int64
        Optics group of each particle, from 0.
    notes : list of str
        What was assumed, and what could not be converted, for the user: one sentence each.
    """

    path: Path
    particles: dict[str, NDArray[Any]]
    optics: dict[str, NDArray[Any]]
    group: NDArray[np.int64]
    notes: list[str] = field(default_factory=list)

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.group)

    @property
    def n_groups(self) -> int:
        """Number of optics groups."""
        return len(next(iter(self.optics.values()))) if self.optics else 1

    @property
    def has_mrc(self) -> bool:
        """Whether a stack is named .mrc, which is a volume to RELION."""
        return any(name.lower().endswith(".mrc") for name in self.particles["rlnImageName"].tolist())

    def tables(self) -> dict[str, Table | dict[str, str]]:
        """The tables of a STAR file of RELION 3.1 and later.

        Raises
        ------
        InputError
            If there is no particle, or a pose or the microscope is not finite.
        """
        if not self.n:
            raise InputError(f"{self.path} has no particles; give a file with at least one")
        for label, values in {**self.optics, **self.particles}.items():
            if label in _FINITE and not np.isfinite(values).all():
                row = int(np.argmin(np.isfinite(values)))
                place = "" if label in self.optics else f", row {row + 1}"
                raise InputError(f"{self.path}{place}: {label} is not finite; correct or remove the particle")
        number = np.arange(1, self.n_groups + 1)
        names = {"rlnOpticsGroupName": np.array([f"opticsGroup{i}" for i in number], object), "rlnOpticsGroup": number}
        optics = {**names, **self.optics, "rlnImageDimensionality": np.full(len(number), 2)}
        particles = {**self.particles, "rlnOpticsGroup": self.group + 1}
        return {
            "optics": make_table(optics, f"{self.path}, data_optics"),
            "particles": make_table(particles, f"{self.path}, data_particles"),
        }


def distinct(columns: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows of some columns (n,) or (n, k), in the order of their values.

    Returns
    -------
    first : (g,) int64
        A row of each.
    group : (n,) int64
        Which one each row is.
    """
    n = len(columns[0])
    code = np.zeros(n, np.int64)
    for column in columns:
        for part in np.reshape(column, (n, -1)).T:
            values, inverse = np.unique(part, return_inverse=True)
            code = np.unique(code * len(values) + inverse, return_inverse=True)[1].astype(np.int64)
    _, first, group = np.unique(code, return_index=True, return_inverse=True)
    return first.astype(np.int64), group.astype(np.int64)


def image_names(index: NDArray[np.integer[Any]], stacks: NDArray[Any]) -> NDArray[Any]:
    """``000001@stack`` of 0-based indices (n,) and names of stacks (n,)."""
    pairs = zip(index.tolist(), stacks.tolist(), strict=True)
    return np.array([f"{number + 1:06d}@{stack}" for number, stack in pairs], object)


def numbers_text(values: NDArray[np.float64]) -> str:
    """A list of numbers as RELION's optics tables have it."""
    return "[" + ",".join(f"{value:.9g}" for value in values.tolist()) + "]"


def grouped_optics(
    shared: Mapping[str, NDArray[np.float64]], others: Sequence[NDArray[Any]] = ()
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Columns of the optics table (g,) and group (n,) of what particles share, (n,) each, and of `others`."""
    first, group = distinct([*others, *shared.values()])
    return {label: values[first] for label, values in shared.items()}, group


def require_pixel_size(path: Path, shared: Mapping[str, NDArray[np.float64]]) -> None:
    """InputError if it is missing or not above 0."""
    if not (shared.get("rlnImagePixelSize", np.zeros(1)) > 0).all():
        raise InputError(f"{path} does not tell the pixel size; give it by --pixel-size (Å)")


def whole(path: Path, name: str, values: NDArray[np.float64], least: int = 0) -> NDArray[np.int64]:
    """Numbers (n,) that must be whole, from `least`; InputError, naming the row, if one is not."""
    bad = ~((values >= least) & (values < 2**31) & (values == np.floor(values)))
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"{path}, row {row + 1}: {name} is {values[row]:g}, not a whole number; correct it")
    return values.astype(np.int64)
