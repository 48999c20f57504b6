"""What makes a map doubtful: unknown poses, views that leave directions out, images left out, thick particles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycryo.geometry.grids import even_spread
from pycryo.geometry.symmetry import Symmetry

# Even views have 0.95 and more, from 50 particles on; poses of `simulate.py --tilt-preference 0.5` 0.84 to 0.92, of 0.8
# 0.4 to 0.6, and 0.70 as refined with 9 % of the images lost. Views all around one axis have 0.81, and nothing is
# missing yet (pycryo.report.angdist.sampling_factor).
_UNEVEN = 0.78
# Fewer particles say too little about the distribution of views.
_FEW = 50
# Nothing is known of poses whose median spread is above this share of that of even ones: of noise it is 0.7 and more,
# of 1TII at an SNR of 0.02 0.24, at 0.01 0.4.
UNKNOWN_SPREAD = 0.5
# Why particles are left out.
NOT_FINITE, CONSTANT, ODD_LEVEL, NO_DEFOCUS = "not_finite", "constant", "odd_level", "no_defocus"
_TEXTS = {
    NOT_FINITE: "NaN or infinite pixels",
    CONSTANT: "constant pixels",
    ODD_LEVEL: "pixels far stronger or weaker than those of other images",
    NO_DEFOCUS: "no defocus",
}


def left_out_text(counts: Mapping[str, int]) -> str:
    """Such as "3 with constant pixels, 1 with no defocus", of the particles of each reason."""
    return ", ".join(f"{count} with {_TEXTS.get(reason, reason)}" for reason, count in counts.items())


def images_text(particles: Mapping[str, Any]) -> str | None:
    """What was done about images that are not as they should be, from run.json; None if nothing."""
    found = []
    if counts := particles.get("left_out_reasons"):
        found.append(f"Left out: {left_out_text(counts)}.")
    mended = particles.get("mended") or {}
    if any(mended.values()):
        found.append(f"Mended: {mended['pixels']} with hot or dead pixels, {mended['ramp']} with a ramp.")
    return " ".join(found) or None


# Of the amplitudes, below which the Ewald sphere is proposed: 5A1A at 100 kV has 0.85 at 2.7 Å.
_THICK = 0.85


def supported_resolution(spread: float, resolution: float, ini_high: float, group: Symmetry) -> float:
    """The resolution, Å, that the images support: that of the start at most where they do not tell their poses.

    Parameters as for `poses_warning`.
    """
    return resolution if spread < UNKNOWN_SPREAD * even_spread(group) else max(resolution, ini_high)


def poses_warning(spread: float, resolution: float, ini_high: float, group: Symmetry) -> str | None:
    """That the images do not tell their poses.

    Parameters
    ----------
    spread : float
        Median spread of the posteriors per axis, degrees.
    resolution, ini_high : float
        Of the half-maps, and of the start, Å.
    group : Symmetry
    """
    even = even_spread(group)
    if spread < UNKNOWN_SPREAD * even:
        return None
    supported = supported_resolution(spread, resolution, ini_high, group)
    return (
        f"The data do not support a map beyond {supported:.0f} Å: the poses are known to {spread:.0f}° "
        f"only, and poses of which nothing is known would have a spread of {even:.0f}°. The map shows noise and what "
        "the start put into it."
    )


def thickness_warning(kept: float) -> str | None:
    """That the particle is so thick that its images are no central slices.

    Parameters
    ----------
    kept : float
        Share of the amplitudes at the map's resolution that is left, `pycryo.model.ewald.kept_of_flat`; 1 where images
        were inserted on the Ewald sphere.
    """
    if kept >= _THICK:
        return None
    return (
        f"The particle is thick for this resolution and voltage: about {100 * kept:.0f} % of the amplitudes at the "
        "map's resolution are left where its images are taken for central slices. Try --ewald, with both hands."
    )


def views_warning(sampling: float, n: int) -> str | None:
    """That the views of `n` particles leave directions out, by their `pycryo.report.angdist.sampling_factor`."""
    if n < _FEW or sampling >= _UNEVEN:
        return None
    return (
        f"The views are distributed very unevenly (sampling factor {sampling:.2f}, even views have 1): the map is "
        "blurred along the directions that few views cover, and its resolution there is worse than the FSC says."
    )
