"""Aberrations, magnification and treatment of the images in optics tables: what RELION's columns say of each group."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import described
from pycryo.errors import InputError
from pycryo.io.table import Table

logger = logging.getLogger(__name__)

# What `--ignore-optics` can name -> its columns and their values where nothing is to be done.
KINDS: dict[str, dict[str, list[float]]] = {
    "beam-tilt": {"rlnBeamTiltX": [0.0], "rlnBeamTiltY": [0.0]},
    "odd-zernike": {"rlnOddZernike": []},
    "even-zernike": {"rlnEvenZernike": []},
    "magnification": {"rlnMagMat00": [1.0], "rlnMagMat01": [0.0], "rlnMagMat10": [0.0], "rlnMagMat11": [1.0]},
    "premultiplied": {"rlnCtfDataAreCtfPremultiplied": [0.0]},
    "phase-flipped": {"rlnCtfDataArePhaseFlipped": [0.0]},
}
LABELS = tuple(label for labels in KINDS.values() for label in labels)
_LISTS = ("rlnOddZernike", "rlnEvenZernike")
# An M that stretches by more is no magnification of a microscope but a mistake.
_MOST_STRETCH = 1.5


def check_kinds(names: Collection[str]) -> None:
    """Refuse names that `KINDS` does not have.

    Raises
    ------
    InputError
        Naming them.
    """
    if not isinstance(names, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in names):
        raise InputError(f"ignore_optics: expected a list of names, of {', '.join(KINDS)}; got {described(names)}")
    if unknown := sorted(set(names) - set(KINDS)):
        raise InputError(f"--ignore-optics does not know {', '.join(unknown)}; it takes {', '.join(KINDS)}")


def parse_kinds(text: str | None) -> tuple[str, ...]:
    """The names in a list with commas, as ``--ignore-optics`` takes them; see `check_kinds`."""
    found = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    check_kinds(found)
    return found


def stated(path: Path, table: Table | None, ignored: Collection[str]) -> dict[str, NDArray[Any]]:
    """The texts (n,) of the columns of `LABELS` that a table has and that say something, less those to be ignored.

    Raises
    ------
    InputError
        If a value cannot be read; names file and column.
    """
    if table is None:
        return {}
    found: dict[str, NDArray[Any]] = {}
    for kind, labels in KINDS.items():
        present = [label for label in labels if label in table.columns]
        columns = {label: table.values(texts=[label])[label] for label in present}
        says = [
            label
            for label, texts in columns.items()
            if any(_says(text, label, path, kind in ignored) for text in dict.fromkeys(texts.tolist()))
        ]
        if says and kind in ignored:
            logger.warning("%s: %s is left out, as --ignore-optics asks: %s", path, kind, ", ".join(says))
        elif says:
            found |= columns
    return found


def _says(text: str, label: str, path: Path, is_ignored: bool) -> bool:
    """Whether a value of a column differs from that where nothing is to be done, or cannot be read."""
    try:
        values = number_list(text, label, path)
    except InputError:
        if is_ignored:
            return True
        raise
    usual = next(labels[label] for labels in KINDS.values() if label in labels)
    return any(values) if label in _LISTS else values != usual


def number_list(text: str, label: str, path: Path) -> list[float]:
    """Numbers of a value like ``1.5`` or ``[0.1,0.2]``.

    Raises
    ------
    InputError
        If it is something else, or there are not as many as `label` takes.
    """
    try:
        values = [float(part) for part in text.strip("[]() ").split(",") if part.strip()]
    except ValueError:
        values = [np.nan]
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {label} is {text!r}, not a number or a list of numbers; correct it")
    if label not in _LISTS and len(values) != 1:
        raise InputError(f"{path}: {label} is {text!r}, expected one number; correct it")
    return values


def group_values(path: Path, columns: Mapping[str, NDArray[Any]], n_group: int) -> dict[str, Any]:
    """The fields of `pycryo.io.optics.OpticsGroups` that these columns are for.

    Parameters
    ----------
    path : Path
        For messages.
    columns : mapping of label to (n_group,) texts
        Those of `stated`; what is missing says nothing.
    n_group : int

    Raises
    ------
    InputError
        If a magnification cannot be one.
    """
    numbers = {
        label: [number_list(text, label, path) for text in columns[label].tolist()]
        if label in columns
        else [usual] * n_group
        for labels in KINDS.values()
        for label, usual in labels.items()
    }

    def scalars(*labels: str) -> NDArray[np.float64]:
        return np.array([[value for (value,) in numbers[label]] for label in labels], np.float64).reshape(-1, n_group).T

    magnification = scalars(*KINDS["magnification"]).reshape(n_group, 2, 2)
    stretches = np.linalg.svd(magnification, compute_uv=False) if n_group else np.ones((0, 2))
    bad = (stretches > _MOST_STRETCH).any(axis=1) | (stretches < 1 / _MOST_STRETCH).any(axis=1)
    bad |= np.linalg.det(np.where(np.reshape(bad, (-1, 1, 1)), np.eye(2), magnification)) <= 0
    if bad.any():
        shown = ", ".join(f"{value:g}" for value in magnification[bad][0].ravel())
        raise InputError(
            f"{path}: rlnMagMat00 to 11 of an optics group are {shown}, which is no magnification; correct them, or "
            "go on without by --ignore-optics magnification"
        )
    flags = {}
    for label in ("rlnCtfDataAreCtfPremultiplied", "rlnCtfDataArePhaseFlipped"):
        flags[label] = scalars(label)[:, 0]
        if np.any(wrong := ~np.isin(flags[label], (0, 1))):
            raise InputError(f"{path}: {label} is {flags[label][wrong][0]:g}; it must be 0 or 1")
    return {
        "beam_tilt": scalars("rlnBeamTiltX", "rlnBeamTiltY"),
        "odd_zernike": tuple(tuple(each) for each in numbers["rlnOddZernike"]),
        "even_zernike": tuple(tuple(each) for each in numbers["rlnEvenZernike"]),
        "magnification": magnification,
        "is_premultiplied": flags["rlnCtfDataAreCtfPremultiplied"] == 1,
        "is_phase_flipped": flags["rlnCtfDataArePhaseFlipped"] == 1,
    }
