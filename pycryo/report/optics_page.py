"""The HTML page of ``pycryo ctf-refine``: what was found for each optics group."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pycryo.io.atomic import write_text
from pycryo.io.json_file import fitting, read_object
from pycryo.report.optics_figures import PHASES_TEXT
from pycryo.report.page import number, render
from pycryo.report.sections import Part, Section, draw

NUMBERS = "optics.json"
_ADVICE = "give the output folder of pycryo ctf-refine, or run it again"
# Groups whose pictures the page shows, at the most.
_MOST_GROUPS = 30


@dataclass(frozen=True, slots=True)
class OpticsFiles:
    """The folder of a ``ctf-refine``, and the optics groups in its optics.json."""

    folder: Path
    groups: list[dict[str, Any]]


def build_optics_report(folder: str | os.PathLike[str]) -> Path:
    """Write report.html from optics.json and the pictures of the phases.

    Parameters
    ----------
    folder : path
        Output folder of ``pycryo ctf-refine``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If the folder holds no optics.json, or one that is not as pycryo writes it.
    """
    folder = Path(folder)
    path = folder / NUMBERS
    told = read_object(path, _ADVICE)
    with fitting(path, _ADVICE):
        rows = [row for group in told["groups"] for row in _rows(group)]
        compared_to, titles = float(told["compared_to"]), [str(group["name"]) for group in told["groups"]]
    files = OpticsFiles(folder, told["groups"])
    parts = [Part(f"Phase errors of {title}", partial(_phases, k)) for k, title in enumerate(titles[:_MOST_GROUPS])]
    text = render(
        "optics.html.j2",
        name=folder.resolve().name,
        told=told,
        rows=rows,
        compared_to=compared_to,
        n_group=len(titles),
        n_particle=sum(group["particles"] for group in files.groups),
        sections=draw(parts, files),
        number=number,
    )
    write_text(folder / "report.html", text)
    return folder / "report.html"


def _rows(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the table: a line for each part of a group."""
    found = []
    for name, part in group["found"].items():
        is_added = "added" in part
        values = part["added"] if is_added else part["not_significant"]
        each = zip(part["names"], values, part["standard_error"], strict=True)
        found.append(
            {
                "group": group["name"],
                "particles": int(group["particles"]),
                "part": name,
                "values": ", ".join(f"{n} {number(value)} ± {number(error, '.2g')}" for n, value, error in each),
                "unit": part["unit"],
                "chi_square": None if part["chi_square"] is None else float(part["chi_square"]),
                "is_added": is_added,
            }
        )
    return found


def _phases(k: int, files: OpticsFiles) -> Section | None:
    picture = files.groups[k].get("picture")
    if picture is None:
        return None
    alt = f"Phases of {files.groups[k]['name']}: seen above, fitted below"
    return Section(PHASES_TEXT if k == 0 else "", (files.folder / picture).read_bytes(), alt)
