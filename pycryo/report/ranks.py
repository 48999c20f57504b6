"""How evenly the ranks of a run were loaded: figure, sentence and warning, from the iterations in run.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycryo.report.figures import iteration_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Iterations = Sequence[dict[str, Any]]
Array = NDArray[np.float64]

# More ranks than this do not fit as bars.
_MOST_BARS = 64
_PARTS = (("busy", "tab:blue"), ("idle", "tab:orange"), ("exposed", "tab:red"))
_NAMES = {"busy": "busy", "idle": "waiting for others", "exposed": "waiting for messages"}


def with_ranks(iterations: Iterations) -> Iterations:
    """The iterations that tell the load of more than one rank."""
    return [each for each in iterations if len(each.get("load", {}).get("busy", ())) > 1]


def idle_share(iterations: Iterations) -> Array:
    """Part of the time of all ranks in the E-phase of each iteration that they waited for others."""
    busy, idle, exposed = (np.array([sum(each["load"][name]) for each in iterations], np.float64) for name, _ in _PARTS)
    return np.asarray(idle / np.maximum(busy + idle + exposed, 1e-12))


def longest(iterations: Iterations) -> dict[str, Any]:
    """The iteration that took longest."""
    return max(iterations, key=lambda each: float(each["seconds"].get("total", 0.0)))


def ranks_text(iterations: Iterations) -> str:
    """Two sentences about the iterations `with_ranks`."""
    chosen = longest(iterations)
    load = chosen["load"]
    busy, idle = (f"{min(load[name]):.3g}–{max(load[name]):.3g} s" for name in ("busy", "idle"))
    rings = f", slices in rings of {load['ring_size']} ranks ({load['way']})" if load["ring_size"] > 1 else ""
    text = (
        f"Iteration {chosen['number']}, which took longest: the {len(load['busy'])} ranks worked for {busy} and waited "
        f"{idle} for each other{rings}. In the median over the iterations ranks waited "
        f"{100 * float(np.median(idle_share(iterations))):.0f} % of the time for each other"
    )
    hidden = [each["load"]["hidden"] for each in iterations if each["load"]["hidden"] is not None]
    if hidden:
        text += f", and {100 * float(np.median(hidden)):.0f} % of the communication hid behind the comparison"
    return text + "."


def ranks_figure(iterations: Iterations) -> Figure:
    """The ranks of the iteration that took longest; over the iterations `with_ranks` the shares of idle and hidden."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.8))
    axes, shares = figure.subplots(
        1, 2, gridspec_kw={"left": 0.08, "right": 0.99, "bottom": 0.27, "top": 0.93, "wspace": 0.18}
    )
    chosen = longest(iterations)
    parts = {name: np.array(chosen["load"][name], np.float64) for name, _ in _PARTS}
    if len(parts["busy"]) > _MOST_BARS:
        _spread(axes, parts)
    else:
        _bars(axes, parts)
    axes.set_title(f"iteration {chosen['number']}", fontsize="medium", y=1.0)
    axes.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    number = [each["number"] for each in iterations]
    iteration_axis(shares, iterations)
    shares.plot(number, 100 * idle_share(iterations), "o-", color="tab:orange", label="time waiting for others")
    hidden = np.array([each["load"]["hidden"] for each in iterations], np.float64)
    if not np.isnan(hidden).all():
        shares.plot(number, 100 * hidden, "s-", color="black", label="communication hidden")
    shares.set(ylabel="%", ylim=(-3, 103))
    shares.grid(alpha=0.3)
    shares.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    return figure


def _bars(axes: Axes, parts: dict[str, Array]) -> None:
    """Seconds of each rank, stacked."""
    from matplotlib.ticker import MaxNLocator

    bottom = np.zeros(len(parts["busy"]))
    for name, colour in _PARTS:
        axes.bar(np.arange(len(bottom)), parts[name], bottom=bottom, width=0.8, label=_NAMES[name], color=colour)
        bottom += parts[name]
    axes.set(xlabel="rank", ylabel="seconds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _spread(axes: Axes, parts: dict[str, Array]) -> None:
    """How many ranks have so many seconds of each."""
    edges = np.linspace(0, max(1e-3, *(float(each.max()) for each in parts.values())), 41).tolist()
    for name, colour in _PARTS:
        axes.hist(parts[name], edges, label=_NAMES[name], color=colour, alpha=0.6)
    axes.set(xlabel="seconds", ylabel="ranks")
