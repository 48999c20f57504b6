"""The scores of the images: figure, sentence and warning, from run.json and the particles' STAR file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycryo.report.figures import one_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Share of junk from which on the reader is told.
_MUCH_JUNK = 0.05


def scores_figure(score: NDArray[np.float64], threshold: float) -> Figure:
    """Histogram of the scores (n,), and the suggested threshold."""
    figure, axes = one_axes(6.4, 4.2)
    low, high = min(float(score.min()), threshold), max(float(score.max()), threshold)
    n_bin = int(np.clip(np.sqrt(len(score)), 10, 80))
    edges = np.linspace(low, max(high, low + 0.1), n_bin + 1).tolist()
    axes.hist(score[score >= threshold], edges, color="tab:blue", label="kept")
    axes.hist(score[score < threshold], edges, color="tab:orange", label="below the threshold")
    axes.axvline(threshold, color="black", linestyle="--", label=f"suggested threshold {threshold:.3f}")
    axes.set(xlabel="score (rlnParticleFigureOfMerit)", ylabel="images")
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # the legend is above the bars
    axes.legend(frameon=False, fontsize="small")
    return figure


def scores_text(run: dict[str, Any]) -> str:
    """Two sentences about the figure, from the content of run.json."""
    particles = run["particles"]
    total = sum(particles["half_sets"])
    kinds = (
        f"{particles['junk']} of {total} images look like something other than a particle and hardly enter the maps."
        if particles["junk"]
        else "There is no second kind of images; the threshold marks the lower end of the particles."
    )
    return f"1: explained by the model as well as expected of a particle; 0: no better than by noise alone. {kinds}"


def scores_warning(run: dict[str, Any]) -> str | None:
    """What to do about much junk."""
    particles = run["particles"]
    junk, total = particles.get("junk", 0), sum(particles["half_sets"])
    if junk <= _MUCH_JUNK * total:
        return None
    return (
        f"{junk} of {total} images ({100 * junk / total:.0f} %) look like something other than a particle. "
        "pycryo select writes a STAR file without them."
    )
