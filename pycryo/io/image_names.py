"""Image names of STAR files, ``000001@stack.mrcs``: which image of which file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.mrc_header import MrcHeader, read_header

NO_NUMBER = -1  # a name without ``@``: the only image of its file


@dataclass(frozen=True, slots=True, eq=False)
class ImageNames:
    """Names taken apart: `index` (n,) int64 counts from 0 (or `NO_NUMBER`), `stack` (n,) int32 points into `stacks`."""

    index: NDArray[np.int64]
    stack: NDArray[np.int32]
    stacks: tuple[str, ...]


def split_names(names: NDArray[Any], where: str) -> ImageNames:
    """Take image names apart.

    Raises
    ------
    InputError
        If a name has no number before its ``@``, or one below 1; names the row.
    """
    parts = [name.partition("@") if "@" in name else ("1", "", name) for name in names.tolist()]
    try:
        counted = np.array([int(number) for number, _, _ in parts], np.int64)
    except (ValueError, OverflowError):
        row = next(row for row, (number, _, _) in enumerate(parts) if not _is_index(number))
        words = f"rlnImageName {names[row]!r} does not begin with the number of an image"
        raise InputError(f"{where}, row {row + 1}: {words}; write it as 000001@stack.mrcs") from None
    if np.any(bad := counted < 1):
        row = int(np.argmax(bad))
        raise InputError(f"{where}, row {row + 1}: rlnImageName {names[row]!r} is below 1; images count from 1")
    has_number = np.array([at == "@" for _, at, _ in parts], np.bool_)
    files = [file for _, _, file in parts]
    places = {file: place for place, file in enumerate(dict.fromkeys(files))}
    stack = np.array([places[file] for file in files], np.int32)
    return ImageNames(np.where(has_number, counted - 1, NO_NUMBER), stack, tuple(places))


def _is_index(text: str) -> bool:
    try:
        return -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


def find_stacks(
    names: ImageNames, where: str, folders: Sequence[Path], fallbacks: Sequence[Path]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Find the files of the stacks.

    Parameters
    ----------
    names : ImageNames
    where : str
        File and table, for messages.
    folders : sequence of Path
        Where relative names may begin, in order of preference.
    fallbacks : sequence of Path
        Folders that may hold the file directly, if no folder leads to the name as it is.

    Returns
    -------
    (stacks, used)
        Paths of the stacks, and the absolute folders that led to them.

    Raises
    ------
    InputError
        If a stack is nowhere; names the row, the file and the places.
    """
    found: list[Path] = []
    used: dict[Path, None] = {}
    for number, name in enumerate(names.stacks):
        tries = [(folder / name, folder) for folder in folders]
        tries += [(folder / Path(name).name, folder) for folder in fallbacks]
        hit = next(((path, folder) for path, folder in tries if name and _is_file(path)), None)
        if hit is None:
            row = int(np.argmax(names.stack == number)) + 1
            places = (
                "" if os.path.isabs(name) else " in " + ", ".join(dict.fromkeys(str(f.absolute()) for f in folders))
            )
            raise InputError(
                f"{where}, row {row}: there is no file {name!r}{places}; name its folder by --particles-dir"
            )
        found.append(hit[0])
        if not os.path.isabs(name) or hit[0] != Path(name):
            used[hit[1].absolute()] = None
    return tuple(found), tuple(used)


def _is_file(path: Path) -> bool:
    """Whether a file can be found by the name: not where it is too long or a folder may not be looked into."""
    try:
        return path.is_file()
    except OSError:
        return False


def check_stacks(names: ImageNames, stacks: Sequence[Path], where: str) -> tuple[MrcHeader, ...]:
    """Read the headers of all stacks and check every index against them.

    Raises
    ------
    InputError
        If a header is bad, images are not square, or an index is beyond its stack; names the row.
    """
    highest = np.full(len(stacks), NO_NUMBER, np.int64)
    np.maximum.at(highest, names.stack, names.index)
    has_bare = np.zeros(len(stacks), np.bool_)
    has_bare[names.stack[names.index == NO_NUMBER]] = True
    headers = []
    for number, path in enumerate(stacks):
        try:
            header = read_header(path)
        except InputError as error:
            row = int(np.argmax(names.stack == number)) + 1
            raise InputError(f"{where}, row {row}: {error}") from error
        headers.append(header)
        if header.nx != header.ny:
            row = int(np.argmax(names.stack == number)) + 1
            raise InputError(
                f"{where}, row {row}: {path} has images of {header.nx} × {header.ny} px; extract them again as squares"
            )
        if highest[number] >= header.nz:
            row = int(np.argmax((names.stack == number) & (names.index >= header.nz)))
            raise InputError(
                f"{where}, row {row + 1}: image {names.index[row] + 1} of {path} is asked for, but the stack has "
                f"{header.nz}; correct rlnImageName or restore the whole stack"
            )
        if header.nz > 1 and has_bare[number]:
            row = int(np.argmax((names.stack == number) & (names.index == NO_NUMBER))) + 1
            raise InputError(
                f"{where}, row {row}: {path} has {header.nz} sections, but the name gives no number; write "
                f"000001@{path.name} for 2D images (3D sub-tomograms are not supported)"
            )
    return tuple(headers)
