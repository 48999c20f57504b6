"""The STAR file of particles of another program, and links to their stacks under names that RELION reads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pycryo.errors import InputError
from pycryo.io.atomic import check_writable_folder, write_error
from pycryo.io.foreign.conversion import Converted
from pycryo.io.image_names import folder_comments
from pycryo.io.mrc_header import read_header
from pycryo.io.star import write_star


def write_converted(path: Path, found: Converted, folders: list[Path]) -> Path | None:
    """Write the STAR file, atomically; a comment tells where image names begin, if that is not beside it.

    The box, which RELION needs, is taken from the stacks where the file does not tell it.

    Parameters
    ----------
    path : Path
    found : Converted
    folders : list of Path
        Where image names may begin, in order of preference.

    Returns
    -------
    Path or None
        The absolute folder that leads to the first stack; None if none does.
    """
    if "rlnImageSize" not in found.optics:
        _add_boxes(found, folders)
    folder = _folder(_stack_of(found, 0), folders)
    elsewhere = [] if folder is None or folder == path.parent.absolute() else [folder]
    write_star(path, found.tables(), comments=folder_comments(elsewhere))
    return folder


def _stack_of(found: Converted, row: int) -> str:
    return str(found.particles["rlnImageName"][row]).partition("@")[2]


def _add_boxes(found: Converted, folders: list[Path]) -> None:
    """Add rlnImageSize to the optics, if a stack of each group is there."""
    stacks = [_stack_of(found, int(np.argmax(found.group == g))) for g in range(found.n_groups)]
    places = [_folder(stack, folders) for stack in stacks]
    paths = [folder / stack for folder, stack in zip(places, stacks, strict=True) if folder is not None]
    if len(paths) == len(stacks):
        found.optics["rlnImageSize"] = np.array([read_header(path).nx for path in paths])
    else:
        found.notes.append(
            f"{found.path} does not tell the box of the images, which RELION needs: its stack is not there"
        )


def _folder(stack: str, folders: list[Path]) -> Path | None:
    """The absolute folder that leads to a stack; None if none does."""
    for folder in folders:
        try:
            if (folder / stack).is_file():
                return folder.absolute()
        except OSError:
            continue
    return None


def link_stacks(found: Converted, folders: list[Path], links: Path) -> None:
    """Make links to the stacks, with the suffix that RELION needs, and let the particles name them.

    Parameters
    ----------
    found : Converted
        Its image names change.
    folders : list of Path
        Where they may begin.
    links : Path
        The folder for the links.

    Raises
    ------
    InputError
        If a stack is not found, or something else has the name of a link.
    """
    parts = [name.partition("@") for name in found.particles["rlnImageName"].tolist()]
    names: dict[str, str] = {}
    targets: dict[str, Path] = {}
    for stack in dict.fromkeys(part[2] for part in parts):
        folder = _folder(stack, folders)
        if folder is None:
            raise InputError(f"there is no file {stack!r} to be linked; name the folder it begins in by --project-dir")
        name = os.path.splitext(stack.strip("/").replace("/", "_"))[0]
        while f"{name}.mrcs" in targets:
            name += "_"
        names[stack] = f"{name}.mrcs"
        targets[names[stack]] = folder / stack
    check_writable_folder(links)
    for name, target in targets.items():
        _link(links / name, target)
    found.particles["rlnImageName"] = np.array(
        [f"{number}@{links / names[stack]}" for number, _, stack in parts], object
    )


def _link(path: Path, target: Path) -> None:
    """Link, unless the link is there already."""
    if path.is_symlink() and os.path.realpath(path) == os.path.realpath(target):
        return
    try:
        path.symlink_to(os.path.realpath(target))
    except OSError as error:
        raise write_error(path, error) from error
