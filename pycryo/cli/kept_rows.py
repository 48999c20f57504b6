"""Rows of a STAR file of particles that a command keeps, and the others, as files."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycryo.cli.ranks import check_output
from pycryo.errors import InputError
from pycryo.io.selection import ParticleTable, image_folder, write_rows

logger = logging.getLogger(__name__)


def add_half_and_class(parser: argparse.ArgumentParser) -> None:
    """``--half`` and ``--class``."""
    parser.add_argument("--half", type=int, choices=(1, 2), help="half-set (rlnRandomSubset)")
    parser.add_argument("--class", type=int, nargs="+", dest="classes", metavar="N", help="classes (rlnClassNumber)")


def check_outputs(source: Path, kept: Path, others: Path | None, names: tuple[str, str]) -> None:
    """Raise InputError if the files cannot be written, are one, or are the `source`; `names` of their options."""
    for path in (kept, others):
        if path is not None:
            check_output(path, inputs=[source])
    if others is not None and others.absolute() == kept.absolute():
        raise InputError(f"{names[0]} and {names[1]} are both {kept}: give two names")


def in_classes(source: ParticleTable, classes: list[int]) -> NDArray[np.bool_]:
    """(n,) which rows are of one of the classes."""
    return np.isin(source.numbers("rlnClassNumber"), classes)


def write_kept(source: ParticleTable, keep: NDArray[np.bool_], kept: Path, others: Path | None) -> None:
    """Write the rows to `keep` (n,), the others if wanted, and tell where image names begin.

    Raises
    ------
    InputError
        If there is none to keep.
    """
    if not keep.any():
        raise InputError(f"no particle of {source.path} meets all criteria; nothing was written")
    for path, rows in ((kept, keep), (others, ~keep)):
        if path is not None:
            write_rows(path, source, np.flatnonzero(rows))
            logger.info("%s: %d particles", path, np.count_nonzero(rows))
    tell_folder(source)


def tell_folder(source: ParticleTable) -> None:
    """Where the image names begin, which other programs have to know."""
    if "rlnImageName" not in source.table.columns:
        return
    folder = image_folder(source)
    if folder is None:
        logger.warning(
            "the stack of the first particle was not found: name the folder that the image names begin in by "
            "--particles-dir where the file is used"
        )
    else:
        logger.info("the image names begin in %s: start other programs there; pycryo looks there by itself", folder)
