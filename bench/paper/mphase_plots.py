"""The pictures of mphase_figures.py: what is simulated or counted is open, what was measured is filled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from mphase_points import BOX_NODES, GROUPS, PAPER_NODES
from plots import Curve, node_axis, panels

STYLES: dict[str, dict[str, Any]] = {
    "replicated": {"color": "0.35", "marker": "s"},
    "sharded": {"color": "tab:orange", "marker": "^"},
    "slab": {"color": "tab:blue", "marker": "o"},
    "key-value": {"color": "tab:green", "marker": "D"},
}
NODE_GIB = (16, 64, 128)
GIB = 2.0**30


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
    figure = Figure(figsize=(4 * len(ranks), 4), layout="constrained")
    for axes, n_rank in zip(figure.subplots(1, len(ranks), sharey=True, squeeze=False)[0], ranks, strict=True):
        here = [{**point, "model": point["form"], "x": point["box"]} for point in points if point["ranks"] == n_rank]
        for form, curve in by_model(here, "bytes", 1 / GIB).items():
            plot(axes, form, curve)
        for size in NODE_GIB:
            axes.axhline(size, color="tab:red", lw=0.8, ls="--")
            axes.annotate(f" {size} GiB", (0, size), xycoords=("axes fraction", "data"), va="bottom", fontsize=7)
        node_axis(axes, {point["box"] for point in here}, "box / px (padded 2)")
        axes.tick_params(axis="x", labelsize=7)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_title(f"{n_rank} ranks of a half-set", fontsize=9)
    figure.axes[0].set_ylabel("memory of a rank / GiB")
    figure.axes[0].legend(fontsize=8, frameon=False)
    figure.suptitle(
        "Fig. 4: memory of the M-phase: F, T, W and C; key-value: F and T of a rank's "
        f"share of {record['images']} images before the exchange",
        fontsize=10,
    )
    return figure


# --- Fig. 9 -----------------------------------------------------------------------------------------------------------


def _nodes_column(column: Any, title: str, points: list[dict[str, Any]]) -> None:
    """M-phase, exchange and solve, memory against nodes."""
    whole = [{**point, "all": point["inserting"] + point["seconds"]} for point in points]
    for axes, value, scale in zip(column, ("all", "seconds", "memory"), (1.0, 1.0, 1 / GIB), strict=True):
        curves = by_model(whole, value, scale)
        for model, curve in curves.items():
            plot(axes, model, curve)
        _log_axis(axes)
        node_axis(axes, curves["slab"], f"nodes, in {GROUPS} groups")
        axes.tick_params(axis="x", labelsize=7)
        axes.axvspan(PAPER_NODES[0], PAPER_NODES[-1], color="0.93", zorder=0)
    column[0].set_title(f"{title}\n(simulated; grey: the paper's nodes)", fontsize=9)


def _box_column(column: Any, points: list[dict[str, Any]]) -> None:
    """The same on `BOX_NODES` nodes relative to a node for each group, against box."""
    whole = [{**point, "all": point["inserting"] + point["seconds"]} for point in points]
    alone, shared = ([point for point in whole if point["panel"] == f"box, {n} nodes"] for n in (GROUPS, BOX_NODES))
    for axes, value in zip(column, ("all", "seconds", "memory"), strict=True):
        base = by_model(alone, value)
        for model, curve in by_model(shared, value).items():
            plot(axes, model, {x: y / base[model][x] for x, y in curve.items()})
        axes.axhline(1, color="0.35", lw=0.8)
        _log_axis(axes)
        node_axis(axes, base["slab"], "box / px (padded 2)")
        axes.tick_params(axis="x", labelsize=7)
        axes.set_ylabel(f"relative to {GROUPS} nodes", fontsize=8)
    column[0].set_title(f"{BOX_NODES} nodes against box\n(simulated)", fontsize=9)


def _real_column(column: Any, points: list[dict[str, Any]]) -> None:
    """This machine, the largest box that ran: bytes sent, seconds, memory against ranks."""
    box = max(point["box"] for point in points)
    rows = [{**point, "x": point["n_rank"]} for point in points if point["box"] == box]
    kinds = (("n_byte", "bytes", 1 / GIB), ("seconds", "seconds", 1.0), ("memory", "memory", 1 / GIB))
    for axes, (name, counted, scale) in zip(column, kinds, strict=True):
        simulated = [{**row, "value": row["simulated"][counted]} for row in rows]
        for model, curve in by_model(simulated, "value", scale).items():
            plot(axes, model, curve)
        shown = [row for row in rows if row["timed"] or name != "seconds"]
        for model, curve in by_model(shown, name, scale).items():
            plot_measured(axes, model, curve)
        node_axis(axes, {row["x"] for row in rows}, "ranks")
        if name != "n_byte":
            _log_axis(axes)
    column[0].set_title(f"this machine, box {box} padded {rows[0]['padding'] * box}\n(measured: filled)", fontsize=9)
    column[0].set_ylabel("sent by a rank in a solve / GiB")
    column[1].set_ylabel("solve / s")
    column[2].set_ylabel("memory of a rank / GiB")


def fig9(record: dict[str, Any]) -> Figure:
    """Time and memory against nodes."""
    points, real = record["points"], record["measured"]
    names = [name for name in panels(points) if not name.startswith("box, ")]
    n = len(names) + 1 + bool(real)
    figure = Figure(figsize=(3.4 * n, 8.4), layout="constrained")
    columns = list(figure.subplots(3, n).T)
    if real:
        _real_column(columns.pop(0), real)
    for name, column in zip(names, columns, strict=False):
        _nodes_column(column, name, [point for point in points if point["panel"] == name])
    for axes, label in zip(
        columns[0], ("M-phase / s", "exchange and solve / s", "memory of a rank / GiB"), strict=True
    ):
        axes.set_ylabel(label)
    _box_column(columns[-1], [point for point in points if point["panel"].startswith("box, ")])
    columns[0][2].legend(fontsize=8, frameon=False)
    figure.suptitle("Fig. 9: the M-phase in three models", fontsize=11)
    return figure


def draw(folder: Path) -> None:
    """Draw what `mphase_figures.record` wrote."""
    for name, picture in (("fig4", fig4), ("fig9", fig9)):
        record = json.loads((folder / f"{name}.json").read_text())
        picture(record).savefig(folder / f"{name}.png", dpi=90)
