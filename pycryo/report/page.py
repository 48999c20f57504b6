"""The HTML page of a refinement: one file with all figures in it."""

from __future__ import annotations

import html
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from pycryo.geometry.symmetry import symmetry
from pycryo.io.atomic import write_text
from pycryo.report import figures, ranks, scores
from pycryo.report.refine_sections import parts_of
from pycryo.report.run_files import RunFiles
from pycryo.report.sections import draw
from pycryo.report.verdict import images_text, left_out_text, poses_warning, thickness_warning, views_warning

# Part of the time that ranks may wait for each other.
_MOST_IDLE = 0.2


def build_report(folder: str | os.PathLike[str]) -> Path:
    """Write report.html from run.json and the newest curves, particles and maps of a run.

    A section whose file is missing or damaged says so, and so does one that fails for another reason.

    Parameters
    ----------
    folder : path
        Output folder of a refinement, finished or not.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If the folder holds no run, or its run.json is not as pycryo writes it.
    """
    folder = Path(folder)
    files = RunFiles.read(folder)
    run = files.run
    text = render(
        "page.html.j2",
        run=run,
        name=folder.resolve().name,
        sections=draw(parts_of(files), files),
        images_text=images_text(run["particles"]),
        phases=figures.phase_names(files.iterations),
        number=number,
        warnings=warnings_of(run),
        seconds=sum(each["seconds"].get("total", 0.0) for each in files.iterations),
    )
    path = folder / "report.html"
    write_text(path, text)
    return path


def render(template: str, **content: Any) -> str:
    """The text of a page of this folder's templates."""
    import jinja2

    texts = resources.files("pycryo.report")
    loader = jinja2.FunctionLoader(lambda name: texts.joinpath(name).read_text("utf-8"))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=loader)
    environment.filters["words"] = words
    return environment.get_template(template).render(**content)


def warnings_of(run: dict[str, Any]) -> list[str]:
    """What the reader should know before trusting the map, from the content of run.json."""
    found = []
    if run["status"] != "done":
        found.append("The run is not finished: this is its last iteration so far.")
    found += [f"Input: {each['text']}." for each in run.get("findings", ())]
    particles = run["particles"]
    if left_out := particles["left_out"]:
        found.append(
            f"{len(left_out)} of {particles['total']} particles cannot be used and were left out "
            f"(run_rejected.star): {left_out_text(particles.get('left_out_reasons', {})) or 'see its reasons'}."
        )
    last, ini_high = run["iterations"][-1], run["options"]["ini_high"]
    verdicts = (
        poses_warning(last["spread_rotation"], run["resolution"], ini_high, symmetry(run["symmetry"])),
        views_warning(run["sampling_factor"], sum(particles["half_sets"])),
        thickness_warning(run.get("kept_amplitude", 1.0)),
        scores.scores_warning(run),
    )
    found += [verdict for verdict in verdicts if verdict is not None]
    if run["resolution"] <= 2.1 * run["pixel_size"]:
        found.append("The resolution is at the limit of the pixel size: smaller pixels may show more.")
    parallel = ranks.with_ranks(run["iterations"])
    if parallel and (idle := float(np.median(ranks.idle_share(parallel)))) > _MOST_IDLE:
        found.append(
            f"The ranks waited {100 * idle:.0f} % of the time for each other: use fewer ranks, or processors that are "
            "alike and have nothing else to do."
        )
    return found


def words(text: str) -> str:
    """Plain text as HTML; what is between backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def number(value: float | None, form: str = ".3g") -> str:
    """A number as the format says; – where there is none."""
    return "–" if value is None else format(value, form)
