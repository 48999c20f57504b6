"""FSC curves as files: STAR table with RELION's labels, EMDB's XML, a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pycryo.errors import InputError
from pycryo.io.atomic import atomic_path, write_text
from pycryo.io.json_file import fitting
from pycryo.io.star import read_tables, write_star
from pycryo.io.table import Table, make_table
from pycryo.maps.fsc import Fsc
from pycryo.report.figures import one_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_fsc_star(path: Path | str, curves: Fsc) -> None:
    """Write a STAR file, atomically: table `general` with the resolution (Å), table `fsc` with a row per shell."""
    general: dict[str, object] = {"rlnFinalResolution": curves.resolution_0143}
    if curves.randomised_from < len(curves.masked):
        general["rlnRandomiseFrom"] = curves.resolution[curves.randomised_from]
    write_star(path, {"general": general, "fsc": fsc_table(curves)})


def fsc_table(curves: Fsc) -> Table:
    """RELION's table of the curves, a row per shell."""
    angstrom = curves.resolution.copy()
    angstrom[0] = 999.0  # RELION's number for the infinite resolution of shell 0
    return make_table(
        {
            "rlnSpectralIndex": np.arange(len(angstrom)),
            "rlnResolution": curves.frequency,
            "rlnAngstromResolution": angstrom,
            "rlnFourierShellCorrelationCorrected": curves.corrected,
            "rlnFourierShellCorrelationUnmaskedMaps": curves.unmasked,
            "rlnFourierShellCorrelationMaskedMaps": curves.masked,
            "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": curves.randomised,
        }
    )


def read_fsc_star(path: Path | str, box: int, pixel_size: float) -> Fsc:
    """Curves of a file that `write_fsc_star` wrote.

    Parameters
    ----------
    path : path
    box : int
        px of any sampling of the maps' field of view.
    pixel_size : float
        Å of that sampling.

    Raises
    ------
    InputError
        If the file cannot be read or has no such table.
    """
    tables = read_tables(path)
    table, general = tables.get("fsc"), tables.get("general", {})
    if not isinstance(table, Table):
        raise InputError(f"{path} has no table data_fsc; give a file that pycryo wrote")
    labels = [
        "rlnFourierShellCorrelationUnmaskedMaps",
        "rlnFourierShellCorrelationMaskedMaps",
        "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
        "rlnFourierShellCorrelationCorrected",
    ]
    columns = table.values(labels)
    field_of_view = box * pixel_size
    start = len(table)
    if isinstance(general, dict) and "rlnRandomiseFrom" in general:
        with fitting(path, "give a file that pycryo wrote"):
            start = round(field_of_view / float(general["rlnRandomiseFrom"]))
    points = 2 * (len(table) - 1) or box
    unmasked, masked, randomised, corrected = (columns[label] for label in labels)
    return Fsc(points, field_of_view / points, unmasked, masked, randomised, corrected, start)


def fsc_xml(curves: Fsc) -> str:
    """Text of the XML file that EMDB takes: the corrected curve, x in 1/Å."""
    points = "".join(
        f"  <coordinate>\n    <x>{x:.6f}</x>\n    <y>{y:.6f}</y>\n  </coordinate>\n"
        for x, y in zip(curves.frequency, curves.corrected, strict=True)
    )
    title = f"pycryo corrected FSC, 0.143 at {curves.resolution_0143:.2f} A"
    head = f'<fsc title="{title}" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}\n{points}</fsc>\n'


def fsc_figure(curves: Fsc, title: str = "", gaps: Sequence[float] = ()) -> Figure:
    """Figure of all curves against 1/Å, with the 0.143 crossing of the corrected one.

    Bands where the signal comes back are shaded, and `gaps`, Å, where the particles' CTFs are nearly 0, are marked.
    """
    figure, axes = one_axes(6.4, 4.2, title_inches=0.25 if title else 0.0)
    axes.plot(curves.frequency, curves.unmasked, color="tab:green", label="unmasked")
    axes.plot(curves.frequency, curves.masked, color="tab:blue", label="masked")
    axes.plot(curves.frequency, curves.randomised, color="tab:red", label="phases randomised")
    axes.plot(curves.frequency, curves.corrected, color="black", linewidth=2, label="corrected")
    for number, (first, last) in enumerate(curves.returned):
        edges = curves.frequency[first] - curves.frequency[1] / 2, curves.frequency[last] + curves.frequency[1] / 2
        axes.axvspan(*edges, color="gold", alpha=0.25, linewidth=0, label=None if number else "signal comes back")
    for number, gap in enumerate(gaps):
        axes.axvline(1 / gap, color="tab:orange", linewidth=1, linestyle=":", label=None if number else "CTF zero")
    axes.axhline(0.143, color="grey", linewidth=0.8)
    axes.axvline(1 / curves.resolution_0143, color="grey", linewidth=0.8, linestyle="--")
    is_right = 1 / curves.resolution_0143 > curves.frequency[-1] / 2
    axes.annotate(
        f"{curves.resolution_0143:.2f} Å",
        (1 / curves.resolution_0143, 0.35),
        xytext=(-4 if is_right else 4, 0),
        textcoords="offset points",
        ha="right" if is_right else "left",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )
    if title:
        axes.set_title(title, fontsize="medium")
    axes.set(xlabel="resolution (1/Å)", ylabel="Fourier shell correlation")
    axes.set(xlim=(0, curves.frequency[-1] or 1), ylim=(-0.1, 1.05))
    axes.legend(loc="upper right", frameon=False)
    return figure


def write_fsc_xml(path: Path | str, curves: Fsc) -> None:
    """Write `fsc_xml` to a file, atomically."""
    write_text(path, fsc_xml(curves))


def write_fsc_png(path: Path | str, curves: Fsc, title: str = "") -> None:
    """Write `fsc_figure` to a PNG file, atomically."""
    with atomic_path(path) as temporary:
        fsc_figure(curves, title).savefig(temporary, format="png", dpi=150)
