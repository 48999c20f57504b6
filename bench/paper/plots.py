"""The pictures of figures.py: simulated points are open, measured ones filled.

They are as wide as the text of a page and use the colours of Okabe and Ito, which colour-blind people tell apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, PercentFormatter

WIDTH, DPI = 8.2, 120  # inches, pixels per inch
STYLES: dict[str, dict[str, Any]] = {
    "serial": {"color": "0.35", "marker": "s"},
    "allgather": {"color": "#E69F00", "marker": "^"},
    "conveyor": {"color": "#0072B2", "marker": "o"},
    "conveyor, rings of 64": {"color": "#009E73", "marker": "D"},
    "conveyor, no overlap": {"color": "#CC79A7", "marker": "v"},
    "as pycryo chooses": {"color": "black", "marker": "+", "ls": "", "markersize": 8, "zorder": 3},
    "jitter 0%": {"color": "#0072B2", "marker": "o"},
    "jitter 20%": {"color": "#D55E00", "marker": "s"},
}
NAMES = {"local": "serial", "allgather": "allgather", "conveyor": "conveyor"}
Curve = dict[float, float]


def curves(points: Iterable[dict[str, Any]], panel: str) -> dict[str, Curve]:
    """Line -> abscissa -> seconds, of a panel."""
    found: dict[str, Curve] = {}
    for point in points:
        if point["panel"] == panel:
            found.setdefault(point["line"], {})[point["x"]] = point["seconds"]
    return found


def panels(points: Iterable[dict[str, Any]]) -> list[str]:
    """Names of the panels, in order."""
    return list(dict.fromkeys(point["panel"] for point in points))


def plot(axes: Axes, line: str, curve: Curve, **extra: Any) -> None:
    """Simulated points, joined."""
    style = {**STYLES[line], "markerfacecolor": "white", "markersize": 5, "lw": 1.3, "label": line, **extra}
    axes.plot(list(curve), list(curve.values()), **style)


def relative(curve: Curve, base: Curve) -> Curve:
    """Ordinates over those of another curve."""
    return {x: y / base[x] for x, y in curve.items()}


def node_axis(axes: Axes, ticks: Iterable[float], label: str) -> None:
    """Logarithmic abscissa with these ticks."""
    ticks = sorted(ticks)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=9)
    axes.tick_params(labelsize=8)


def seconds_panel(axes: Axes, title: str, found: dict[str, Curve], label: str) -> None:
    """Seconds of all lines."""
    for line, curve in found.items():
        plot(axes, line, curve)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("E-phase / s")
    node_axis(axes, found["serial"], label)
    _title(axes, title)


def relative_panel(axes: Axes, title: str, found: dict[str, Curve], label: str) -> None:
    """Time relative to serial of all lines."""
    for line, curve in found.items():
        plot(axes, line, relative(curve, found["serial"]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("time relative to serial")
    node_axis(axes, found["serial"], label)
    _title(axes, title)


def legend(figure: Figure, axes: Axes) -> None:
    """The lines of `axes`, below the figure."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)


def real_curves(rows: list[dict[str, Any]], abscissa: str) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """This machine: simulated seconds, and those measured where each rank has a core of its own."""
    found: dict[str, Curve] = {}
    timed: dict[str, Curve] = {}
    for row in rows:
        line = NAMES[row["way"]]
        found.setdefault(line, {})[row[abscissa]] = row["simulated"]
        if row["timed"]:
            timed.setdefault(line, {})[row[abscissa]] = row["measured"]
    return found, timed


def plot_measured(axes: Axes, line: str, curve: Curve) -> None:
    """Measured points, filled."""
    plot(axes, line, curve, ls="", markerfacecolor=STYLES[line]["color"], markersize=7, label=None)


def real(top: Axes, bottom: Axes | None, rows: list[dict[str, Any]], abscissa: str, title: str, label: str) -> None:
    """This machine: seconds above, time relative to serial below."""
    found, timed = real_curves(rows, abscissa)
    title = f"{title}\n(filled: measured)"
    seconds_panel(top, title, found, label)
    if bottom is not None:
        relative_panel(bottom, title, found, label)
    for line, curve in timed.items():
        plot_measured(top, line, curve)
        if bottom is not None:
            plot_measured(bottom, line, relative(curve, timed["serial"]))


def fig6(record: dict[str, Any], measured: dict[str, Any]) -> Figure:
    """Time against nodes."""
    found = {name: curves(record["points"], name) for name in panels(record["points"])}
    first, *others = found
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    axes = figure.subplots(2, 3)
    real(axes[0, 0], None, measured["validation"], "ranks", "this machine, 128 images", "ranks of one core")
    seconds_panel(axes[0, 1], f"{first}\n(simulated)", found[first], "nodes")
    relative_panel(axes[0, 2], f"{first}\n(simulated)", found[first], "nodes")
    for each, name in zip(axes[1], others, strict=True):
        relative_panel(each, f"{name}\n(simulated)", found[name], "nodes")
    legend(figure, axes[0, 1])
    return figure


def fig7(record: dict[str, Any], measured: dict[str, Any]) -> Figure:
    """Time against image size."""
    names = panels(record["points"])
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    axes = figure.subplots(2, len(names) + 1)
    real(*axes[:, 0], measured["sizes"], "box", "this machine, 2 ranks, 128 images", "image size / px")
    nodes = f"(simulated, {record['nodes_of_fig7']} nodes)"
    for (top, bottom), name in zip(axes[:, 1:].T, names, strict=True):
        found = curves(record["points"], name)
        seconds_panel(top, f"{name}\n{nodes}", found, "image size / px")
        relative_panel(bottom, f"{name}\n{nodes}", found, "image size / px")
    for each in axes.flat:
        node_axis(each, set(each.get_xticks()) - {160.0}, "image size / px")  # its label would run into that of 128
    legend(figure, axes[0, 1])
    return figure


def speed_up(curve: Curve, first: float) -> Curve:
    """Relative to `first` nodes."""
    return {n: curve[first] / seconds for n, seconds in curve.items() if n >= first}


def speed_ups(axes: Axes, title: str, found: dict[str, Curve], first: float, label: str) -> None:
    """Speed-ups of all lines, and the ideal one."""
    for line, curve in found.items():
        plot(axes, line, speed_up(curve, first))
    ticks = [n for n in found["serial"] if n >= first]
    axes.plot(ticks, [n / first for n in ticks], color="k", ls=":", lw=1, label="ideal")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel(f"speed-up from {first:g}")
    node_axis(axes, ticks, label)
    _title(axes, title)


def fig8(record: dict[str, Any], measured: dict[str, Any], first: int = 256) -> Figure:
    """Speed-up relative to `first` nodes, and to one rank of this machine."""
    names = panels(record["points"])
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    own, *others, empty = figure.subplots(2, 3).flat
    found, timed = real_curves(measured["validation"], "ranks")
    speed_ups(own, "this machine, 128 images\n(filled: measured)", found, 1, "ranks of one core")
    for line, curve in timed.items():
        plot_measured(own, line, speed_up(curve, 1))
    for axes, name in zip(others, names, strict=True):
        speed_ups(axes, f"{name}\n(simulated)", curves(record["points"], name), first, "nodes")
    empty.set_axis_off()
    empty.legend(*others[0].get_legend_handles_labels(), loc="center", fontsize=9, frameon=False)
    return figure


def where(record: dict[str, Any]) -> Figure:
    """Where the conveyor pays."""
    points = record["points"]
    figure = Figure(figsize=(WIDTH, 6), layout="constrained")
    sampling, jitter, dense, sparse = figure.subplots(2, 2).flat
    nodes = points[0]["case"]["n_node"]
    for axes, panel in ((sampling, "sampling"), (jitter, "jitter")):
        found = curves(points, panel)
        for line, curve in found.items():
            if line != "serial":
                plot(axes, line, relative(curve, found["serial"]))
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    sampling.set(title=f"costlier sampling, {nodes} nodes", xlabel="share of sampling in serial time")
    jitter.set(title=f"uneven steps, {nodes} nodes", xlabel="deviation of a block's time")
    rings = [name for name in panels(points) if name.startswith("rings")]
    for axes, panel in zip((dense, sparse), rings, strict=True):
        for line, curve in curves(points, panel).items():
            plot(axes, line, {x: y / curve[1] for x, y in curve.items()})
        node_axis(axes, curve, "ring size")
        axes.set_title(f"{record['nodes_of_rings']} nodes, {panel.removeprefix('rings, ')}")
    for axes in figure.axes:
        _title(axes, axes.get_title())
        axes.axhline(1, color="0.35", lw=0.8)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylabel("time relative to serial")
        axes.legend(fontsize=8, frameon=False)
    return figure


def draw(folder: Path, pictures: Path) -> None:
    """Draw what `figures.record` wrote into `folder`, as parallel_*.png in `pictures`."""
    records = {
        name: json.loads((folder / f"{name}.json").read_text()) for name in ("measured", "fig6", "fig7", "where")
    }
    figures = {
        "fig6": fig6(records["fig6"], records["measured"]),
        "fig7": fig7(records["fig7"], records["measured"]),
        "fig8": fig8(records["fig6"], records["measured"]),
        "where": where(records["where"]),
    }
    for name, figure in figures.items():
        figure.savefig(pictures / f"parallel_{name}.png", dpi=DPI)
