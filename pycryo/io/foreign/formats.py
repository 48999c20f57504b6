"""Which program a file of particles is of, and its particles as RELION's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pycryo.errors import InputError
from pycryo.io.foreign.cistem import is_cistem, read_cistem
from pycryo.io.foreign.conversion import Converted, Given
from pycryo.io.foreign.structured import is_structured
from pycryo.io.star import read_tables
from pycryo.io.table import Table

# Folders above a .cs file in which its image names may begin: those of its job and its export, and the project.
_ABOVE = 4


def convert(paths: Sequence[Path], given: Given) -> Converted:
    """Read particles of cryoSPARC, cisTEM, FREALIGN or EMAN2.

    Parameters
    ----------
    paths : sequence of Path
        One file; of cryoSPARC's also its passthrough files.
    given : Given
        What the files do not say.

    Raises
    ------
    InputError
        If a file cannot be read, is of none of these programs, or lacks what all need.
    """
    from pycryo.io.foreign.cryosparc import read_cryosparc
    from pycryo.io.foreign.eman2 import is_list, read_list
    from pycryo.io.foreign.frealign import read_par

    first = paths[0]
    if is_structured(first) or first.suffix.lower() == ".cs":
        return read_cryosparc(paths)
    if len(paths) > 1:
        raise InputError(f"{paths[1]}: several files are for cryoSPARC's passthrough files only; give one")
    if is_list(first):
        return read_list(first, given)
    if first.suffix.lower() == ".par":
        return read_par(first, given)
    tables = read_tables(first)
    if is_cistem(tables):
        return read_cistem(first, tables, given)
    raise InputError(f"{first} is a STAR file, but not cisTEM's; RELION's need no import")


def relion_tables(path: Path) -> tuple[dict[str, Table | dict[str, str]], list[Path], list[str]]:
    """The tables of a STAR file of RELION, or what a .cs file of cryoSPARC says as such.

    Returns
    -------
    tables : dict
        See `pycryo.io.star.read_tables`.
    folders : list of Path
        Where image names may begin besides.
    notes : list of str
        What was assumed, for the user.
    """
    if is_structured(path):
        from pycryo.io.foreign.cryosparc import read_cryosparc

        found = read_cryosparc([path])
        return found.tables(), image_folders(path), found.notes
    tables = read_tables(path)
    if is_cistem(tables):
        raise InputError(f"{path} is cisTEM's; make it RELION's: pycryo import {path} --out particles.star")
    return dict(tables), [], []


def refuse_cryosparc(path: Path) -> None:
    """Raise InputError if a file is one of cryoSPARC: for what takes the rows of a STAR file as they are written."""
    if is_structured(path):
        raise InputError(f"{path} is cryoSPARC's; make it a STAR file: pycryo import {path} --out particles.star")


def image_folders(path: Path) -> list[Path]:
    """Folders above a file in which the names of cryoSPARC's images may begin, the nearest first."""
    return list(path.absolute().parents[1 : 1 + _ABOVE])
