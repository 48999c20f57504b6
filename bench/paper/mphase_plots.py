"""The pictures of mphase_figures.py: what is simulated or counted is open, what was measured is filled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from mphase_points import BOX_NODES, GROUPS, PAPER_NODES
from plots import DPI, WIDTH, Curve, node_axis, panels

STYLES: dict[str, dict[str, Any]] = {
    "replicated": {"color": "0.35", "marker": "s"},
    "sharded": {"color": "#E69F00", "marker": "^"},
    "slab": {"color": "#0072B2", "marker": "o"},
    "key-value": {"color": "#009E73", "marker": "D"},
}
NODE_GIB = (16, 64, 128)
GIB = 2.0**30
# Fields of a point, and their names.
QUANTITIES = {"all": "M-phase / s", "seconds": "exchange and solve / s", "memory": "memory of a rank / GiB"}
# Boxes that have a tick: all would run into each other.
BOX_TICKS = (16, 32, 128, 256, 512, 1024)


def plot(axes: Axes, model: str, curve: Curve, **extra: Any) -> None:
    """Simulated or counted points, joined."""
    style = {**STYLES[model], "markerfacecolor": "white", "markersize": 5, "lw": 1.3, "label": model, **extra}
    axes.plot(list(curve), list(curve.values()), **style)


def plot_measured(axes: Axes, model: str, curve: Curve) -> None:
    """Measured points, filled."""
    plot(axes, model, curve, ls="", markerfacecolor=STYLES[model]["color"], markersize=7, label=None)


def by_model(points: list[dict[str, Any]], value: str, scale: float = 1.0) -> dict[str, Curve]:
    """Model -> abscissa -> value of points with the fields `model` and `x`."""
    found: dict[str, Curve] = {}
    for point in points:
        found.setdefault(point["model"], {})[point["x"]] = point[value] * scale
    return found


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


# --- Fig. 4 -----------------------------------------------------------------------------------------------------------


def fig4(record: dict[str, Any]) -> Figure:
    """Memory of a rank against box."""
    points = record["points"]
    ranks = list(dict.fromkeys(point["ranks"] for point in points))
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    for axes, n_rank in zip(figure.subplots(1, len(ranks), sharey=True, squeeze=False)[0], ranks, strict=True):
        here = [{**point, "model": point["form"], "x": point["box"]} for point in points if point["ranks"] == n_rank]
        for form, curve in by_model(here, "bytes", 1 / GIB).items():
            plot(axes, form, curve)
        for size in NODE_GIB:
            axes.axhline(size, color="#D55E00", lw=0.8, ls="--")
            axes.annotate(f" {size} GiB", (0, size), xycoords=("axes fraction", "data"), va="bottom", fontsize=7)
        node_axis(axes, {point["box"] for point in here} & set(BOX_TICKS), "box / px (padded 2)")
        axes.tick_params(labelsize=8)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_title(f"{n_rank} ranks of a half-set", fontsize=9)
    figure.axes[0].set_ylabel("memory of a rank / GiB")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


# --- Fig. 9 -----------------------------------------------------------------------------------------------------------


def _nodes_column(column: Any, title: str, points: list[dict[str, Any]]) -> None:
    """M-phase, exchange and solve, memory against nodes."""
    whole = [{**point, "all": point["inserting"] + point["seconds"]} for point in points]
    for axes, value in zip(column, QUANTITIES, strict=True):
        curves = by_model(whole, value, 1 / GIB if value == "memory" else 1.0)
        for model, curve in curves.items():
            plot(axes, model, curve)
        _log_axis(axes)
        node_axis(axes, curves["slab"], f"nodes, in {GROUPS} groups")
        axes.tick_params(axis="x", labelsize=7)
        axes.axvspan(PAPER_NODES[0], PAPER_NODES[-1], color="0.93", zorder=0)
    column[0].set_title(title.replace(": ", "\n").replace(", ", "\n"), fontsize=9)


def _box_row(row: Any, points: list[dict[str, Any]]) -> None:
    """The same on `BOX_NODES` nodes relative to a node for each group, against box."""
    whole = [{**point, "all": point["inserting"] + point["seconds"]} for point in points]
    alone, shared = ([point for point in whole if point["panel"] == f"box, {n} nodes"] for n in (GROUPS, BOX_NODES))
    for axes, (value, title) in zip(row, QUANTITIES.items(), strict=True):
        base = by_model(alone, value)
        for model, curve in by_model(shared, value).items():
            plot(axes, model, {x: y / base[model][x] for x, y in curve.items()})
        axes.axhline(1, color="0.35", lw=0.8)
        _log_axis(axes)
        node_axis(axes, set(base["slab"]) & set(BOX_TICKS), "box / px (padded 2)")
        axes.tick_params(labelsize=8)
        axes.set_title(f"{title.partition(' /')[0]}\n{BOX_NODES} nodes, simulated", fontsize=9)
    row[0].set_ylabel(f"relative to {GROUPS} nodes")


def _real_row(row: Any, points: list[dict[str, Any]]) -> None:
    """This machine, the largest box that ran: seconds, bytes sent, memory against ranks."""
    box = max(point["box"] for point in points)
    rows = [{**point, "x": point["n_rank"]} for point in points if point["box"] == box]
    kinds = (
        ("seconds", "seconds", 1.0, "solve / s"),
        ("n_byte", "bytes", 1 / GIB, "sent by a rank / GiB"),
        ("memory", "memory", 1 / GIB, "memory of a rank / GiB"),
    )
    for axes, (name, counted, scale, label) in zip(row, kinds, strict=True):
        simulated = [{**each, "value": each["simulated"][counted]} for each in rows]
        for model, curve in by_model(simulated, "value", scale).items():
            plot(axes, model, curve)
        shown = [each for each in rows if each["timed"] or name != "seconds"]
        for model, curve in by_model(shown, name, scale).items():
            plot_measured(axes, model, curve)
        node_axis(axes, {each["x"] for each in rows}, "ranks")
        if name != "n_byte":
            _log_axis(axes)
        axes.tick_params(labelsize=8)
        axes.set_ylabel(label)
        axes.set_title(f"this machine, box {box}\n(filled: measured)", fontsize=9)


def fig9(record: dict[str, Any]) -> Figure:
    """Time and memory against nodes."""
    points = record["points"]
    names = [name for name in panels(points) if not name.startswith("box, ")]
    figure = Figure(figsize=(WIDTH, 7.6), layout="constrained")
    columns = figure.subplots(3, len(names), squeeze=False).T
    for name, column in zip(names, columns, strict=True):
        _nodes_column(column, name, [point for point in points if point["panel"] == name])
    for axes, label in zip(columns[0], QUANTITIES.values(), strict=True):
        axes.set_ylabel(label)
    figure.legend(*columns[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def solve(record: dict[str, Any]) -> Figure:
    """Real solves, and the gain by box."""
    points, real = record["points"], record["measured"]
    figure = Figure(figsize=(WIDTH, 5.4 if real else 2.9), layout="constrained")
    rows = list(figure.subplots(1 + bool(real), 3, squeeze=False))
    if real:
        _real_row(rows[0], real)
    _box_row(rows[-1], [point for point in points if point["panel"].startswith("box, ")])
    figure.legend(*rows[-1][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw(folder: Path, pictures: Path) -> None:
    """Draw what `mphase_figures.record` wrote into `folder`, as parallel_*.png in `pictures`."""
    for name, of, picture in (("fig4", "fig4", fig4), ("fig9", "fig9", fig9), ("solve", "fig9", solve)):
        record = json.loads((folder / f"{of}.json").read_text())
        picture(record).savefig(pictures / f"parallel_{name}.png", dpi=DPI)
