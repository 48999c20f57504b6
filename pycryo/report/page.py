"""The HTML page of a refinement: one file with all figures in it."""

from __future__ import annotations

import base64
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycryo.errors import InputError
from pycryo.geometry.rotations import euler_to_quaternion
from pycryo.geometry.symmetry import symmetry
from pycryo.io.atomic import write_text
from pycryo.io.json_file import fitting, read_object
from pycryo.io.mrc import read_map
from pycryo.io.star import read_tables
from pycryo.io.table import Table
from pycryo.postprocess.figures import guinier_figure
from pycryo.postprocess.files import read_guinier
from pycryo.report import figures, ranks, scores
from pycryo.report.angdist import view_directions
from pycryo.report.figures import png
from pycryo.report.fsc_files import fsc_figure, read_fsc_star
from pycryo.report.gaps import return_text, with_told_return
from pycryo.report.verdict import images_text, left_out_text, poses_warning, thickness_warning, views_warning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Part of the time that ranks may wait for each other.
_MOST_IDLE = 0.2
_ADVICE = "give the output folder of a refinement, or run it again"
_NEEDED = ("iterations", "particles", "resolution", "box", "pixel_size", "diameter", "symmetry")


def build_report(folder: str | os.PathLike[str]) -> Path:
    """Write report.html from run.json, run_fsc.star and the newest particles and map of a run.

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
        If the folder holds no run, or a file of it cannot be read.
    """
    folder = Path(folder)
    run = _read_run(folder)
    with fitting(folder / "run.json", _ADVICE):
        return _write_page(folder, run)


def _write_page(folder: Path, run: dict[str, Any]) -> Path:
    """Read the other files, and write the page."""
    import jinja2

    curves = read_fsc_star(folder / "run_fsc.star", run["box"], run["pixel_size"])
    iterations = run["iterations"]
    for each in iterations:
        each["limit"] = run["box"] * run["pixel_size"] / each["r_high"]
    poses = _particles(_newest(folder, "run_data.star", "data.star", iterations))
    views = _views(poses, run["symmetry"])
    volume = read_map(_newest(folder, "run_class001.mrc", "half1_class001.mrc", iterations))
    gaps, returns = run.get("ctf_gaps", []), run.get("signal_returns") or [None]
    pictures = {
        "fsc": fsc_figure(with_told_return(curves, returns[0]), gaps=gaps),
        "resolution": figures.resolution_figure(iterations),
        "views": figures.views_figure(views, run["symmetry"]),
        "slices": figures.slices_figure(volume, run["diameter"]),
        "poses": figures.poses_figure(iterations),
        "timing": figures.timing_figure(iterations),
    }
    sharpened = run.get("postprocess") or []
    if sharpened and sharpened[0]["b_factor"] is not None:
        pictures["guinier"] = guinier_figure(*read_guinier((folder / sharpened[0]["map"]).with_suffix(".star")))
    if run.get("classes", 1) > 1:
        pictures["classes"] = figures.classes_figure(iterations)
    if any(each.get("sigma_defocus") for each in iterations):
        pictures["defocus"] = figures.defocus_figure(iterations)
    threshold = run["particles"].get("suggested_threshold")
    if threshold is not None:
        score = poses.values(["rlnParticleFigureOfMerit"])["rlnParticleFigureOfMerit"]
        pictures["scores"] = scores.scores_figure(score, threshold)
    parallel = ranks.with_ranks(iterations)
    if parallel:
        pictures["ranks"] = ranks.ranks_figure(parallel)
    source = resources.files("pycryo.report").joinpath("page.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = environment.from_string(source).render(
        run=run,
        name=folder.resolve().name,
        pictures={name: _embedded(figure) for name, figure in pictures.items()},
        further_classes=_further_classes(folder, run),
        scores_text=None if threshold is None else scores.scores_text(run),
        images_text=images_text(run["particles"]),
        sharpened=sharpened,
        return_text=return_text(curves.resolution_0143, returns[0], gaps),
        ranks_text=ranks.ranks_text(parallel) if parallel else None,
        phases=figures.phase_names(iterations),
        number=_three_digits,
        warnings=warnings_of(run),
        seconds=sum(each["seconds"].get("total", 0.0) for each in iterations),
    )
    path = folder / "report.html"
    write_text(path, text)
    return path


def _further_classes(folder: Path, run: dict[str, Any]) -> list[dict[str, Any]]:
    """Number, FSC and sections of each class after the first."""
    found = []
    for k in range(2, run.get("classes", 1) + 1):
        curves = read_fsc_star(folder / f"run_fsc_class{k:03d}.star", run["box"], run["pixel_size"])
        told = run.get("signal_returns") or []
        curves = with_told_return(curves, told[k - 1] if len(told) >= k else None)
        path = _newest(folder, f"run_class{k:03d}.mrc", f"half1_class{k:03d}.mrc", run["iterations"])
        sections = figures.slices_figure(read_map(path), run["diameter"])
        found.append(
            {
                "number": k,
                "fsc": _embedded(fsc_figure(curves, gaps=run.get("ctf_gaps", ()))),
                "slices": _embedded(sections),
            }
        )
    return found


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


def _read_run(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    run = read_object(path, _ADVICE)
    missing = [key for key in _NEEDED if not run.get(key)]
    if missing:
        raise InputError(f"{path} is not of a refinement (no {', '.join(missing)}); give its output folder")
    return run


def _newest(folder: Path, final: str, of_iteration: str, iterations: list[dict[str, Any]]) -> Path:
    """The final file, or that of the last iteration while the run goes on."""
    if (folder / final).is_file():
        return folder / final
    return folder / f"run_it{iterations[-1]['number']:03d}_{of_iteration}"


def _particles(path: Path) -> Table:
    table = read_tables(path).get("particles")
    if not isinstance(table, Table):
        raise InputError(f"{path} has no table data_particles; run the refinement again")
    return table


def _views(table: Table, group: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n, 3) viewing directions of all particles and their symmetry mates."""
    angles = table.values(["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"])
    return view_directions(euler_to_quaternion(*angles.values()), symmetry(group))


def _three_digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _embedded(figure: Figure) -> str:
    """A figure as data URL of a PNG image."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode("ascii")
