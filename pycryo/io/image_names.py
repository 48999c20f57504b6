"""Image names of STAR files, ``000001@stack.mrcs``: which image of which file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.mrc_header import MrcHeader, read_header

NO_NUMBER = -1  # a name without ``@``: the only image of its file
_FOLDER_COMMENT = "pycryo: image names begin in "  # a comment line, so that the file can be read from anywhere


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


def names_from(
    folder: Path, names: Sequence[str], stacks: Sequence[Path], found_from: Sequence[Path] = ()
) -> NDArray[Any]:
    """Image names (n,) that lead to the same stacks from `folder`, absolute ones for stacks that lie outside of it.

    Names that are absolute, or lead there already, stay as they are.

    Parameters
    ----------
    folder : Path
        Absolute.
    names : (n,) sequence of str
    stacks : (n,) sequence of Path
        The file of each.
    found_from : sequence of Path
        Absolute folders that led to them, for relative paths that the working folder does not lead to any more.
    """
    known: dict[tuple[str, Path], str] = {}
    found = []
    for name, stack in zip(names, stacks, strict=True):
        number, at, file = name.partition("@") if "@" in name else ("", "", name)
        if (file, stack) not in known:
            places = [stack, *(each / file for each in found_from if not stack.is_absolute())]
            known[file, stack] = _name_from(folder, file, next(filter(_is_file, places), stack))
        found.append(f"{number}{at}{known[file, stack]}")
    return np.array(found, object)


def _name_from(folder: Path, name: str, stack: Path) -> str:
    here = folder / name
    if os.path.isabs(name) or (_is_file(here) and os.path.realpath(here) == os.path.realpath(stack)):
        return name
    path = Path(os.path.abspath(stack))
    return os.fspath(path.relative_to(folder) if path.is_relative_to(folder) else path)


def folder_comments(folders: Iterable[Path]) -> list[str]:
    """Lines for the head of a STAR file that name folders where its image names begin."""
    return [f"{_FOLDER_COMMENT}{folder}" for folder in folders]


def noted_folders(comments: Iterable[str]) -> list[Path]:
    """The folders that `folder_comments` named."""
    return [Path(line.removeprefix(_FOLDER_COMMENT)) for line in comments if line.startswith(_FOLDER_COMMENT)]


@dataclass(frozen=True, slots=True)
class Stacks:
    """Files of stacks.

    Attributes
    ----------
    paths : tuple of Path
        As the names say where there is no such file.
    is_found : tuple of bool
    folders : tuple of Path
        Absolute folders that led to them.
    """

    paths: tuple[Path, ...]
    is_found: tuple[bool, ...]
    folders: tuple[Path, ...]


def find_stacks(
    names: ImageNames, where: str, folders: Sequence[Path], fallbacks: Sequence[Path], findings: Findings
) -> Stacks:
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
    findings : Findings
        Gets an error for each stack that is nowhere, with row, file and places, and for names that lead to one file
        though they differ.
    """
    paths, is_found, is_direct = [], [], []
    used: dict[Path, None] = {}
    missing, wrong = _Capped(findings, "stack", "stacks"), _Capped(findings, "shared stack", "stacks")
    for number, name in enumerate(names.stacks):
        tries = [(folder / name, folder) for folder in folders]
        tries += [(folder / Path(name).name, folder) for folder in fallbacks]
        place = next((i for i, (path, _) in enumerate(tries) if name and _is_file(path)), None)
        is_found.append(place is not None)
        if place is None:
            missing.error(partial(_missing_text, names, number, where, folders))
            paths.append(Path(name))
            is_direct.append(True)
            continue
        path, folder = tries[place]
        paths.append(path)
        is_direct.append(place < len(folders))
        if place >= len(folders) and (meant := _by_its_name(path, folder, name)):
            wrong.error(partial(_mistaken_text, where, name, path, meant))
        if not os.path.isabs(name) or path != Path(name):
            used[folder.absolute()] = None
    missing.end()
    wrong.end()
    _refuse_shared(names, where, paths, is_direct, findings)
    return Stacks(tuple(paths), tuple(is_found), tuple(used))


def _mistaken_text(where: str, name: str, path: Path, meant: Path) -> str:
    return (
        f"{where}: {name!r} would be read from {path}, though there is {meant}; name by --particles-dir the folder "
        "that the name begins in"
    )


def _missing_text(names: ImageNames, number: int, where: str, folders: Sequence[Path]) -> str:
    name = names.stacks[number]
    tried = ", ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
    places = "" if os.path.isabs(name) else f" in {tried}"
    row = _first_row(names, number)
    return f"{where}, row {row}: there is no file {name!r}{places}; name its folder by --particles-dir"


def _first_row(names: ImageNames, number: int) -> int:
    """The first row, from 1, of a stack."""
    return int(np.argmax(names.stack == number)) + 1


def _by_its_name(path: Path, folder: Path, name: str) -> Path | None:
    """Another file than `path` that the whole name leads to from a folder above `folder`."""
    if os.path.isabs(name):
        return None
    above = folder.absolute().parents
    for place in (parent / name for parent in above[: len(Path(name).parts) - 1]):
        if _is_file(place) and os.path.realpath(place) != os.path.realpath(path):
            return place
    return None


def _refuse_shared(
    names: ImageNames, where: str, paths: Sequence[Path], is_direct: Sequence[bool], findings: Findings
) -> None:
    """Two names must not become one file because one of them, or both, was looked up without its folder."""
    if all(is_direct):
        return
    shared = _Capped(findings, "shared stack", "stacks")
    first: dict[str, int] = {}
    for number, path in enumerate(paths):
        other = first.setdefault(os.path.realpath(path), number)
        if other == number or (is_direct[other] and is_direct[number]):
            continue
        if os.path.normpath(names.stacks[other]) != os.path.normpath(names.stacks[number]):
            shared.error(partial(_shared_text, names, (other, number), where, path))
    shared.end()


def _shared_text(names: ImageNames, pair: tuple[int, int], where: str, path: Path) -> str:
    one, two = (names.stacks[number] for number in pair)
    return (
        f"{where}: the stacks {one!r} and {two!r} would both be read from {path}; name by --particles-dir the folder "
        "that both names begin in"
    )


class _Capped:
    """Errors of many files: the first ones in words, the number of the others."""

    MOST = 5

    def __init__(self, findings: Findings, code: str, files: str) -> None:
        self._findings, self._code, self._files, self._n = findings, code, files, 0

    def error(self, text: Callable[[], str]) -> None:
        """Add an error while there are few; `text` finds the first row, which takes a look at all of them."""
        self._n += 1
        if self._n <= self.MOST:
            self._findings.error(self._code, text())

    def end(self) -> None:
        """Tell how many were not named."""
        if self._n > self.MOST:
            self._findings.error(self._code, f"the same holds for {self._n - self.MOST} further {self._files}")


def _is_file(path: Path) -> bool:
    """Whether a file can be found by the name: not where it is too long or a folder may not be looked into."""
    try:
        return path.is_file()
    except OSError:
        return False


def check_stacks(names: ImageNames, stacks: Stacks, where: str, findings: Findings) -> tuple[MrcHeader, ...]:
    """Read the headers of all stacks and check every index against them.

    `findings` get an error, which names the row, for each stack whose header is bad, whose images are not square, or
    that has too few images.

    Returns
    -------
    tuple of MrcHeader
        Of each stack; empty if one is missing or cannot be read.
    """
    highest = np.full(len(stacks.paths), NO_NUMBER, np.int64)
    np.maximum.at(highest, names.stack, names.index)
    has_bare = np.zeros(len(stacks.paths), np.bool_)
    has_bare[names.stack[names.index == NO_NUMBER]] = True
    wrong = _Capped(findings, "stack", "stacks")
    headers = []
    for number, path in enumerate(stacks.paths):
        if not stacks.is_found[number]:
            continue
        try:
            header = read_header(path)
        except InputError as error:
            wrong.error(partial(_unreadable_text, names, number, where, error))
            continue
        headers.append(header)
        if header.nx != header.ny or highest[number] >= header.nz or (header.nz > 1 and has_bare[number]):
            wrong.error(partial(_misfit_text, names, number, where, header))
    wrong.end()
    return tuple(headers) if len(headers) == len(stacks.paths) else ()


def _unreadable_text(names: ImageNames, number: int, where: str, error: InputError) -> str:
    return f"{where}, row {_first_row(names, number)}: {error}"


def _misfit_text(names: ImageNames, number: int, where: str, header: MrcHeader) -> str:
    """What is wrong with a stack for the images that are asked of it."""
    path, mine = header.path, names.stack == number
    if header.nx != header.ny:
        row = _first_row(names, number)
        what = f"{path} has images of {header.nx} × {header.ny} px; extract them again as squares"
    elif (beyond := mine & (names.index >= header.nz)).any():
        row = int(np.argmax(beyond)) + 1
        what = (
            f"image {names.index[row - 1] + 1} of {path} is asked for, but the stack has {header.nz}; correct "
            "rlnImageName or restore the whole stack"
        )
    else:
        row = int(np.argmax(mine & (names.index == NO_NUMBER))) + 1
        what = (
            f"{path} has {header.nz} sections, but the name gives no number; write 000001@{path.name} for 2D images "
            "(3D sub-tomograms are not supported)"
        )
    return f"{where}, row {row}: {what}"


def check_boxes(
    where: str,
    expected: NDArray[np.int64],
    boxes: NDArray[np.int64],
    names: ImageNames,
    stacks: tuple[Path, ...],
) -> None:
    """Raise InputError if images are of another box (n,), px, than their optics group says."""
    if np.any(bad := boxes != expected):
        row = int(np.argmax(bad))
        raise InputError(
            f"{where}, row {row + 1}: {stacks[names.stack[row]]} has images of {boxes[row]} px, but "
            f"rlnImageSize is {expected[row]}; correct rlnImageSize or the image name"
        )
