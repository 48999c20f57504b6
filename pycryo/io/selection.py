"""Some rows of a STAR file of particles, everything else to the letter."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError
from pycryo.io.foreign.formats import refuse_cryosparc
from pycryo.io.image_names import folder_comments, noted_folders
from pycryo.io.star import read_comments, read_tables, write_star
from pycryo.io.table import Table, make_table

_TABLE_NAMES = ("particles", "images", "")


@dataclass(frozen=True, slots=True)
class ParticleTable:
    """A STAR file with its table of particles, not interpreted.

    Attributes
    ----------
    path : Path
    tables : mapping of str to Table or dict
        All of them.
    name : str
        Of the particles' table.
    comments : tuple of str
        At the head of the file.
    """

    path: Path
    tables: Mapping[str, Table | dict[str, str]]
    name: str
    comments: tuple[str, ...]

    @property
    def table(self) -> Table:
        """The particles."""
        table = self.tables[self.name]
        assert isinstance(table, Table)
        return table

    def numbers(self, column: str) -> NDArray[np.float64]:
        """(n,) float64: a column.

        Raises
        ------
        InputError
            If it is missing or holds something else.
        """
        return np.asarray(self.table.values([column])[column])


def as_table(table: Table | Mapping[str, str] | None) -> Table | None:
    """A list of pairs counts as a loop of one row."""
    if table is None or isinstance(table, Table):
        return table
    return make_table({label: np.array([value]) for label, value in table.items()})


def particle_table(path: Path, tables: dict[str, Table | dict[str, str]], substitute: str) -> tuple[str, Table]:
    """Name and table of the particles: the one with rlnImageName, or with `substitute` if there is none.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    for label in ("rlnImageName", substitute):
        found = {name: table for name, table in tables.items() if label in _columns(table)}
        if found:
            name = next((name for name in _TABLE_NAMES if name in found), None)
            if name is None and len(found) > 1:
                options = ", ".join(f"data_{option}" for option in found)
                raise InputError(f"{path} has {label} in several tables ({options}); call the right one data_particles")
            name = name if name is not None else next(iter(found))
            table = as_table(found[name])
            assert table is not None
            return name, table
    options = ", ".join(f"data_{option}" for option in tables)
    raise InputError(f"{path} has no table with rlnImageName (only {options}); give a STAR file of particles")


def _columns(table: Table | Mapping[str, str]) -> tuple[str, ...]:
    return table.columns if isinstance(table, Table) else tuple(table)


def read_particle_table(path: str | os.PathLike[str]) -> ParticleTable:
    """Read a STAR file of particles of any version of RELION.

    Raises
    ------
    InputError
        If the file cannot be read or has no particles.
    """
    path = Path(path)
    refuse_cryosparc(path)
    tables = read_tables(path)
    name, table = particle_table(path, tables, "rlnAngleRot")
    if not len(table):
        raise InputError(f"{path}: data_{name} has no particles; give a file with at least one")
    return ParticleTable(path, tables | {name: table}, name, tuple(read_comments(path)))


def image_folder(source: ParticleTable) -> Path | None:
    """The absolute folder that the image names begin in, by the first of them; None if it is in none that is known.

    Known are the folder of the file, the working folder and those that its comments name, in this order. Absolute names
    begin in any, the working folder for one.
    """
    if "rlnImageName" not in source.table.columns:
        return None
    first = source.table.with_columns({}, rows=np.arange(1)).values(texts=["rlnImageName"])["rlnImageName"][0]
    stack = first.rpartition("@")[2]
    if os.path.isabs(stack):
        return Path.cwd() if os.path.isfile(stack) else None
    folders = [source.path.parent, Path(), *noted_folders(source.comments)]
    return next((each.absolute() for each in folders if stack and (each / stack).is_file()), None)


def write_rows(
    path: str | os.PathLike[str],
    source: ParticleTable,
    rows: NDArray[np.integer[Any]],
    values: Mapping[str, ArrayLike] | None = None,
    drop: Collection[str] = (),
) -> None:
    """Write some particles, in this order, with all tables and comments, atomically.

    In another folder a comment tells where image names begin, as in `pycryo.io.particles.write_particles`.

    Parameters
    ----------
    path : path
    source : ParticleTable
    rows : (m,) ints
        May repeat.
    values : mapping of str to (m,) arrays, optional
        Columns to be replaced or added.
    drop : collection of str
        Columns to leave out.
    """
    tables = {**source.tables, source.name: source.table.with_columns(values or {}, drop=drop, rows=rows)}
    comments = [line for line in source.comments if not line.startswith("version ")]
    here = image_folder(source) or source.path.parent.absolute()
    if Path(path).parent.absolute() != here:
        comments += [line for line in folder_comments([here]) if line not in comments]
    write_star(path, tables, comments=comments, version=30001 if "optics" in tables else None)
