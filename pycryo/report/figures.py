"""Figures of the report (matplotlib, without pyplot's global state)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycryo.report.angdist import bin_of, bin_spacing, sphere_bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Iterations = Sequence[dict[str, Any]]

_DOTS_PER_INCH = 120
# Of PNG images, 1 to 9: the common 6 takes three times as long and saves 15 %.
_COMPRESSION = 3
# Inches beside the axes of a figure that has one: enough for the labels, whose place need not be found by drawing.
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.75, 0.15, 0.5, 0.15
_STAGE_COLOURS = {"global": "tab:blue", "local": "tab:orange", "defocus": "tab:purple", "final": "tab:green"}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure) -> bytes:
    """A figure as PNG image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(_DOTS_PER_INCH)
    # Drawn once: `savefig` draws before it prints.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    # Figures are opaque: a fourth channel would take a fifth of the time.
    drawn = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(drawn).convert("RGB")
    picture.save(buffer, "png", compress_level=_COMPRESSION, dpi=(_DOTS_PER_INCH, _DOTS_PER_INCH))
    return buffer.getvalue()


def one_axes(width: float, height: float, title_inches: float = 0.0) -> tuple[Figure, Axes]:
    """A figure, inches, with one pair of axes that fills it, below a title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    place = (
        _LEFT / width,
        _BOTTOM / height,
        1 - (_LEFT + _RIGHT) / width,
        1 - (_BOTTOM + _TOP + title_inches) / height,
    )
    return figure, figure.add_axes(place)


def _numbers(iterations: Iterations, name: str) -> NDArray[np.float64]:
    """A figure of all iterations; NaN where there is none."""
    return np.array([np.nan if each[name] is None else each[name] for each in iterations], np.float64)


def iteration_axis(axes: Axes, iterations: Iterations) -> None:
    """Whole iterations on x; the stages as coloured bands with their names in a legend."""
    from matplotlib.ticker import MaxNLocator

    first = iterations[0]["number"]
    axes.set_xlim(first - 0.5, iterations[-1]["number"] + 0.5)
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    shown = set()
    for each in iterations:
        stage = each["stage"]
        axes.axvspan(
            each["number"] - 0.5,
            each["number"] + 0.5,
            color=_STAGE_COLOURS.get(stage, "grey"),
            alpha=0.12,
            linewidth=0,
            label=None if stage in shown else f"{stage} stage",
        )
        shown.add(stage)


def resolution_figure(iterations: Iterations) -> Figure:
    """Resolution of each iteration and the limit of its comparison, Å."""
    figure, axes = one_axes(6.4, 4.2)
    number = _numbers(iterations, "number")
    iteration_axis(axes, iterations)
    axes.plot(number, _numbers(iterations, "limit"), "s--", color="grey", markersize=4, label="compared up to")
    axes.plot(number, _numbers(iterations, "resolution"), "o-", color="black", label="corrected FSC = 0.143")
    axes.set_ylabel("resolution (Å)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return figure


def classes_figure(iterations: Iterations) -> Figure:
    """Share and resolution of each class by iteration, and the share of the images that changed theirs."""
    figure = new_figure(12.8, 4.2)
    left, right = figure.subplots(1, 2)
    number = _numbers(iterations, "number")
    for axes in (left, right):
        iteration_axis(axes, iterations)
        axes.grid(alpha=0.3)
    for k in range(len(iterations[-1]["class_share"])):
        share = [100 * each["class_share"][k] for each in iterations]
        left.plot(number, share, "o-", markersize=4, label=f"class {k + 1}")
        resolution = [
            np.nan if each["class_resolution"][k] is None else each["class_resolution"][k] for each in iterations
        ]
        right.plot(number, resolution, "o-", markersize=4, label=f"class {k + 1}")
    left.plot(
        number, 100 * _numbers(iterations, "class_change"), "s--", color="grey", markersize=4, label="changed class"
    )
    left.set_ylabel("images (%)")
    right.set_ylabel("resolution (Å)")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize="small")
    return figure


def poses_figure(iterations: Iterations) -> Figure:
    """Spread of the posteriors and change of the poses, medians over the particles."""
    from matplotlib.ticker import LogLocator

    figure, axes = one_axes(6.4, 4.2)
    number = _numbers(iterations, "number")
    iteration_axis(axes, iterations)
    axes.plot(number, _numbers(iterations, "spread_rotation"), "o-", color="black", label="spread (°)")
    axes.plot(number, _numbers(iterations, "pose_change"), "s-", color="tab:red", label="pose change (°)")
    axes.plot(number, _numbers(iterations, "spread_shift"), "^--", color="tab:blue", label="spread of the shifts (Å)")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_ylabel("median over the particles")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, fontsize="small", ncols=2)
    return figure


def defocus_figure(iterations: Iterations) -> Figure:
    """Changes of the particles' defocus and their uncertainty, medians over the particles, Å."""
    figure, axes = one_axes(6.4, 4.2)
    shown = [each for each in iterations if each["sigma_defocus"]]
    number = _numbers(shown, "number")
    iteration_axis(axes, shown)
    for name, style, colour, label in (
        ("defocus_change", "o-", "black", "change of the file's value"),
        ("defocus_moved", "s-", "tab:red", "change since the last iteration"),
        ("spread_defocus", "^--", "tab:blue", "spread of a particle's posterior"),
        ("sigma_defocus", "v:", "grey", "prior (standard deviation)"),
    ):
        axes.plot(number, _numbers(shown, name), style, color=colour, label=label)
    axes.set_ylabel("defocus (Å), median over the particles")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", ncols=2)
    return figure


def views_figure(views: NDArray[np.float64], group: str) -> Figure:
    """Density of the viewing directions (n, 3), 1 where as many as if they were even; Mollweide projection."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.add_axes((0.045, 0.205, 0.95, 0.72), projection="mollweide")
    longitude = np.linspace(-np.pi, np.pi, 361)
    latitude = np.linspace(-np.pi / 2, np.pi / 2, 181)
    across, up = np.meshgrid((longitude[1:] + longitude[:-1]) / 2, (latitude[1:] + latitude[:-1]) / 2)
    directions = np.stack([np.cos(up) * np.cos(across), np.cos(up) * np.sin(across), np.sin(up)], axis=-1)
    spacing = bin_spacing(len(views))
    _, counts = sphere_bins(views, spacing)
    density = counts * len(counts) / max(1, len(views))
    shown = density[bin_of(directions.reshape(-1, 3), spacing)].reshape(across.shape)
    image = axes.pcolormesh(longitude, latitude, shown, cmap="viridis", vmin=0, rasterized=True)
    axes.set_xticks(np.deg2rad([-120, -60, 0, 60, 120]), ["−120°", "−60°", "rot 0°", "60°", "120°"], color="white")
    axes.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]), ["tilt 150°", "120°", "90°", "60°", "30°"])
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3, color="white", linewidth=0.5)
    mates = "" if group == "C1" else f" with their {group} mates"
    label = f"density of the views{mates} (even: 1)"
    figure.colorbar(image, cax=figure.add_axes((0.19, 0.11, 0.66, 0.05)), orientation="horizontal", label=label)
    return figure


def phase_names(iterations: Iterations) -> list[str]:
    """Phases that were timed, in the order of their first appearance, without the total."""
    names = dict.fromkeys(name for each in iterations for name in each["seconds"])
    return [name for name in names if name != "total"]


def timing_figure(iterations: Iterations) -> Figure:
    """Seconds of each phase, stacked per iteration."""
    import matplotlib
    from matplotlib.ticker import MaxNLocator

    figure, axes = one_axes(6.4, 4.2)
    number = _numbers(iterations, "number")
    bottom = np.zeros(len(iterations))
    names = phase_names(iterations)
    values = {name: np.array([each["seconds"].get(name, 0.0) for each in iterations]) for name in names}
    total = np.array([each["seconds"].get("total", 0.0) for each in iterations])
    values["other"] = np.maximum(0, total - sum(values.values(), np.zeros(len(iterations))))
    colours = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    for place, (name, seconds) in enumerate(values.items()):
        axes.bar(number, seconds, bottom=bottom, width=0.8, label=name, color=colours[place % 20])
        bottom += seconds
    axes.set(xlabel="iteration", ylabel="seconds (rank 0)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize="small", ncols=2)
    return figure
