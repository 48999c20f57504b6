"""Figures of a sharpened map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycryo.postprocessing.sharpen import Guinier
from pycryo.report.figures import one_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def guinier_figure(plot: Guinier, b_factor: float | None) -> Figure:
    """ln of the amplitudes against 1/d²: as reconstructed, weighted, sharpened by a B-factor, and the line of the fit.

    Parameters
    ----------
    plot : Guinier
    b_factor : float or None
        Å²; None: not sharpened.
    """
    figure, axes = one_axes(6.4, 4.2)
    curves = [("original", plot.original, "tab:green", 1.5)]
    if plot.mtf_corrected is not None:
        curves += [("divided by the MTF", plot.mtf_corrected, "tab:purple", 1.5)]
    curves += [("weighted by the FSC", plot.weighted, "tab:blue", 1.5)]
    if b_factor is not None:
        curves += [(f"sharpened by {b_factor:.0f} Å²", plot.sharpened, "black", 2.0)]
    shown = np.isfinite(plot.weighted) & (plot.squared > 0)
    for label, values, colour, width in curves:
        axes.plot(plot.squared[1:], values[1:], color=colour, linewidth=width, label=label)
    if plot.line is not None:
        ends = np.array([0, plot.squared[shown].max(initial=0)])
        fit = f"fit, B = {plot.line.b_factor:.0f} Å²"
        axes.plot(ends, plot.line.intercept + plot.line.slope * ends, "--", color="tab:red", linewidth=1, label=fit)
    last = plot.squared[shown].max(initial=plot.squared[1])
    axes.set(xlabel="1/d² (1/Å²)", ylabel="ln of the mean amplitude", xlim=(0, min(1.15 * last, plot.squared[-1])))
    inside = plot.squared <= 1.15 * last
    every = np.concatenate([each[inside & np.isfinite(each)][1:] for _, each, _, _ in curves])
    if len(every):
        axes.set_ylim(every.min() - 0.5, every.max() + 0.5)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="upper right")
    return figure
