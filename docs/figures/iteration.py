"""One iteration: what goes in, what is done with it, what comes out."""

from __future__ import annotations

from typing import Any

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from style import BLUE, GREEN, GREY, ORANGE, panels, save

_WIDTH, _HEIGHT = 1.56, 0.86
# Place (column, row), title, text and colour of each step.
_STEPS = {
    "reference": (0, 1, "reference", "one for each\nhalf-set", GREY),
    "scan": (1, 1, "global scan", "all images, shared\nslices", BLUE),
    "filter": (2, 1, "particle filter", "posterior of each\nimage in phases", BLUE),
    "insert": (3, 1, "insertion", "support points\ninto F and T", BLUE),
    "solve": (3, 0, "half-maps", "F / T for each\nhalf-set", GREEN),
    "fsc": (2, 0, "FSC, noise", "resolution, σ²,\nscores", GREEN),
    "schedule": (1, 0, "schedule", "next r_high, stage,\nor the end", ORANGE),
    "refine": (0, 0, "new reference", "filter, mask, gain", GREEN),
}
_ARROWS = [
    ("reference", "scan"),
    ("scan", "filter"),
    ("filter", "insert"),
    ("insert", "solve"),
    ("solve", "fsc"),
    ("fsc", "schedule"),
    ("schedule", "refine"),
    ("refine", "reference"),
]


def _box(axes: Any, column: int, row: int, title: str, text: str, colour: str) -> None:
    x, y = 1.85 * column, 1.5 * row
    axes.add_patch(
        FancyBboxPatch((x, y), _WIDTH, _HEIGHT, "round,pad=0.03,rounding_size=0.1", fc=colour + "22", ec=colour, lw=1.4)
    )
    axes.text(x + _WIDTH / 2, y + 0.66, title, ha="center", va="center", weight="bold", fontsize=9.5)
    axes.text(x + _WIDTH / 2, y + 0.27, text, ha="center", va="center", fontsize=8.5)


def _edge(name: str, other: str) -> tuple[float, float]:
    """Where an arrow from or to `name` meets it, on the side of `other`."""
    column, row = _STEPS[name][:2]
    across, up = _STEPS[other][0] - column, _STEPS[other][1] - row
    x, y = 1.85 * column + _WIDTH / 2, 1.5 * row + _HEIGHT / 2
    return x + across * (_WIDTH / 2 + 0.05), y + up * (_HEIGHT / 2 + 0.05)


def draw() -> None:
    """docs/images/method_iteration.png"""
    figure, axes = panels(1, 1, 2.75)
    for column, row, title, text, colour in _STEPS.values():
        _box(axes, column, row, title, text, colour)
    for first, second in _ARROWS:
        ends = _edge(first, second), _edge(second, first)
        axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=13, color="#333333"))
    axes.text(1.85, 2.5, "E-phase: each rank has its images", color=BLUE, fontsize=9)
    axes.text(1.85, -0.16, "M-phase: each rank has a slab of the maps", color=GREEN, fontsize=9, va="top")
    axes.set(xlim=(-0.15, 7.25), ylim=(-0.5, 2.75))
    axes.set_axis_off()
    save(figure, "iteration")
