"""The pictures of figures.py: simulated points are open, measured ones filled."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, PercentFormatter

STYLES: dict[str, dict[str, Any]] = {
    "serial": {"color": "0.35", "marker": "s"},
    "allgather": {"color": "tab:orange", "marker": "^"},
    "conveyor": {"color": "tab:blue", "marker": "o"},
    "conveyor, rings of 64": {"color": "tab:cyan", "marker": "D"},
    "conveyor, no overlap": {"color": "tab:purple", "marker": "v"},
    "as pycryo chooses": {"color": "tab:red", "marker": "+", "ls": ""},
    "jitter 0%": {"color": "tab:blue", "marker": "o"},
    "jitter 20%": {"color": "tab:red", "marker": "s"},
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


def pair(top: Axes, bottom: Axes, title: str, found: dict[str, Curve], label: str) -> None:
    """Seconds above, time relative to serial below."""
    for line, curve in found.items():
        plot(top, line, curve)
        plot(bottom, line, relative(curve, found["serial"]))
    top.set_yscale("log")
    top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    top.yaxis.set_major_formatter("{x:g}")
    top.yaxis.set_minor_formatter(NullFormatter())
    top.set_title(title, fontsize=9)
    for axes in (top, bottom):
        node_axis(axes, found["serial"], label)
    bottom.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


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


def real(top: Axes, bottom: Axes, rows: list[dict[str, Any]], abscissa: str, title: str, label: str) -> None:
    """This machine, above and below as in `pair`."""
    found, timed = real_curves(rows, abscissa)
    pair(top, bottom, f"{title}\n(measured: filled)", found, label)
    for line, curve in timed.items():
        plot_measured(top, line, curve)
        plot_measured(bottom, line, relative(curve, timed["serial"]))


def fig6(record: dict[str, Any], measured: dict[str, Any]) -> Figure:
    """Time against nodes."""
    names = panels(record["points"])
    figure = Figure(figsize=(3 * (len(names) + 1), 5.6), layout="constrained")
    axes = figure.subplots(2, len(names) + 1, height_ratios=(3, 2))
    rows = measured["validation"]
    real(axes[0, 0], axes[1, 0], rows, "ranks", "this machine, 128 images", "ranks of one core")
    for column, name in enumerate(names, 1):
        pair(axes[0, column], axes[1, column], f"{name}\n(simulated)", curves(record["points"], name), "nodes")
    axes[0, 0].set_ylabel("E-phase / s")
    axes[1, 0].set_ylabel("time relative to serial")
    axes[0, 1].legend(fontsize=7, frameon=False)
    figure.suptitle("Fig. 6: E-phase against nodes, image size 256", fontsize=11)
    return figure


def fig7(record: dict[str, Any], measured: dict[str, Any]) -> Figure:
    """Time against image size."""
    names = panels(record["points"])
    figure = Figure(figsize=(4 * (len(names) + 1), 5.6), layout="constrained")
    axes = figure.subplots(2, len(names) + 1, height_ratios=(3, 2))
    real(axes[0, 0], axes[1, 0], measured["sizes"], "box", "this machine, 2 ranks, 128 images", "image size / px")
    for column, name in enumerate(names, 1):
        pair(
            axes[0, column], axes[1, column], f"{name}\n(simulated)", curves(record["points"], name), "image size / px"
        )
    axes[0, 0].set_ylabel("E-phase / s")
    axes[1, 0].set_ylabel("time relative to serial")
    axes[0, 1].legend(fontsize=8, frameon=False)
    figure.suptitle(f"Fig. 7: E-phase against image size, simulated on {record['nodes_of_fig7']} nodes", fontsize=11)
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
    axes.set_title(title, fontsize=9)
    axes.set_ylabel(f"speed-up from {first:g}")
    node_axis(axes, ticks, label)


def fig8(record: dict[str, Any], measured: dict[str, Any], first: int = 256) -> Figure:
    """Speed-up relative to `first` nodes, and to one rank of this machine."""
    names = panels(record["points"])
    figure = Figure(figsize=(3.2 * (len(names) + 1), 3.4), layout="constrained")
    own, *others = figure.subplots(1, len(names) + 1)
    found, timed = real_curves(measured["validation"], "ranks")
    speed_ups(own, "this machine, 128 images\n(measured: filled)", found, 1, "ranks of one core")
    for line, curve in timed.items():
        plot_measured(own, line, speed_up(curve, 1))
    for axes, name in zip(others, names, strict=True):
        speed_ups(axes, f"{name}\n(simulated)", curves(record["points"], name), first, "nodes")
    others[0].legend(fontsize=7, frameon=False)
    figure.suptitle("Fig. 8: relative speed-up", fontsize=11)
    return figure


def where(record: dict[str, Any]) -> Figure:
    """Where the conveyor pays."""
    points = record["points"]
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    sampling, dense, sparse, jitter = figure.subplots(1, 4)
    nodes = points[0]["case"]["n_node"]
    for axes, panel in ((sampling, "sampling"), (jitter, "jitter")):
        found = curves(points, panel)
        for line, curve in found.items():
            if line != "serial":
                plot(axes, line, relative(curve, found["serial"]))
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(fontsize=7, frameon=False)
    sampling.set(title=f"dearer sampling, {nodes} nodes", xlabel="share of sampling in serial time")
    jitter.set(title=f"uneven steps, {nodes} nodes", xlabel="deviation of a block's time")
    rings = [name for name in panels(points) if name.startswith("rings")]
    for axes, panel in zip((dense, sparse), rings, strict=True):
        for line, curve in curves(points, panel).items():
            plot(axes, line, {x: y / curve[1] for x, y in curve.items()})
        node_axis(axes, curve, "ring size")
        axes.set_title(f"{record['nodes_of_rings']} nodes, {panel.removeprefix('rings, ')}")
        axes.legend(fontsize=7, frameon=False)
    for axes in figure.axes:
        axes.set_title(axes.get_title(), fontsize=9)
        axes.axhline(1, color="0.35", lw=0.8)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    sampling.set_ylabel("time relative to serial")
    figure.suptitle("Where sharing slices pays (simulated)", fontsize=11)
    return figure


def draw(folder: Path) -> None:
    """Draw what `figures.record` wrote."""
    records = {
        name: json.loads((folder / f"{name}.json").read_text()) for name in ("measured", "fig6", "fig7", "where")
    }
    pictures = {
        "fig6": fig6(records["fig6"], records["measured"]),
        "fig7": fig7(records["fig7"], records["measured"]),
        "fig8": fig8(records["fig6"], records["measured"]),
        "where": where(records["where"]),
    }
    for name, figure in pictures.items():
        figure.savefig(folder / f"{name}.png", dpi=90)
