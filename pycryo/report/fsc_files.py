"""FSC curves as files: STAR table with RELION's labels, EMDB's XML, a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pycryo.fsc import Fsc
from pycryo.io.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAR_LABELS = (
    "rlnSpectralIndex",
    "rlnResolution",
    "rlnAngstromResolution",
    "rlnFourierShellCorrelationCorrected",
    "rlnFourierShellCorrelationUnmaskedMaps",
    "rlnFourierShellCorrelationMaskedMaps",
    "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
)


def fsc_star(curves: Fsc) -> str:
    """Text of a STAR file: table `general` with the resolution (Å), table `fsc` with a row per shell."""
    lines = ["", "# version 30001", "", "data_general", "", f"_rlnFinalResolution {curves.resolution_0143:.6f}"]
    if curves.randomised_from < len(curves.masked):
        lines.append(f"_rlnRandomiseFrom {curves.resolution[curves.randomised_from]:.6f}")
    lines += ["", "", "# version 30001", "", "data_fsc", "", "loop_"]
    lines += [f"_{label} #{number}" for number, label in enumerate(STAR_LABELS, 1)]
    for shell, frequency in enumerate(curves.frequency):
        resolution = 999.0 if shell == 0 else 1 / frequency  # RELION's number for the infinite resolution of shell 0
        values = (curves.corrected, curves.unmasked, curves.masked, curves.randomised)
        row = " ".join(f"{curve[shell]:.6f}" for curve in values)
        lines.append(f"{shell} {frequency:.6f} {resolution:.6f} {row}")
    return "\n".join([*lines, "", ""])


def fsc_xml(curves: Fsc) -> str:
    """Text of the XML file that EMDB takes: the corrected curve, x in 1/Å."""
    points = "".join(
        f"  <coordinate>\n    <x>{x:.6f}</x>\n    <y>{y:.6f}</y>\n  </coordinate>\n"
        for x, y in zip(curves.frequency, curves.corrected, strict=True)
    )
    title = f"pycryo corrected FSC, 0.143 at {curves.resolution_0143:.2f} A"
    head = f'<fsc title="{title}" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}\n{points}</fsc>\n'


def fsc_figure(curves: Fsc, title: str = "") -> Figure:
    """Figure of all curves against 1/Å, with the 0.143 crossing of the corrected one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curves.frequency, curves.unmasked, color="tab:green", label="unmasked")
    axes.plot(curves.frequency, curves.masked, color="tab:blue", label="masked")
    axes.plot(curves.frequency, curves.randomised, color="tab:red", label="phases randomised")
    axes.plot(curves.frequency, curves.corrected, color="black", linewidth=2, label="corrected")
    axes.axhline(0.143, color="grey", linewidth=0.8)
    axes.axvline(1 / curves.resolution_0143, color="grey", linewidth=0.8, linestyle="--")
    right = 1 / curves.resolution_0143 > curves.frequency[-1] / 2
    axes.annotate(
        f"{curves.resolution_0143:.2f} Å",
        (1 / curves.resolution_0143, 0.143),
        xytext=(-4 if right else 4, 4),
        textcoords="offset points",
        ha="right" if right else "left",
    )
    axes.set(xlabel="resolution (1/Å)", ylabel="Fourier shell correlation", title=title)
    axes.set(xlim=(0, curves.frequency[-1] or 1), ylim=(-0.1, 1.05))
    axes.legend(loc="upper right", frameon=False)
    return figure


def write_fsc_star(path: Path | str, curves: Fsc) -> None:
    """Write `fsc_star` to a file, atomically."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(fsc_star(curves), encoding="utf-8")


def write_fsc_xml(path: Path | str, curves: Fsc) -> None:
    """Write `fsc_xml` to a file, atomically."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(fsc_xml(curves), encoding="utf-8")


def write_fsc_png(path: Path | str, curves: Fsc, title: str = "") -> None:
    """Write `fsc_figure` to a PNG file, atomically."""
    with atomic_path(Path(path)) as temporary:
        fsc_figure(curves, title).savefig(temporary, format="png", dpi=150)
