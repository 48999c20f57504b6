"""What a search of the optics found, and what of it is no chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.io.optics import OpticsGroups
from pycryo.io.particles import Particles
from pycryo.kernels.ctf import electron_wavelength
from pycryo.model.microscope import frequencies
from pycryo.refinement.optics.change import Change, tilt_strength
from pycryo.refinement.optics.evidence import Evidence
from pycryo.refinement.optics.fit import Fitted, even_basis, odd_basis

Array = NDArray[np.float64]

# Parameters count if chance would make as much of them once in a thousand groups: χ² of all, or standard errors of the
# largest, by their number.
_SIGNIFICANT = {1: (12.1, 3.5), 2: (15.2, 3.7), 3: (17.7, 3.8), 5: (22.1, 3.9)}
# Of a standard error: changes below it are none; after a last pass that still changes more than so many nothing counts.
_STILL, _RESTLESS = 0.3, 3.0
# Of a microscope's magnification: what its nominal value is off by, taken for one group more that was seen.
_NOMINAL = 0.01
# Of a change of the magnification: poses that were refined without it hide as much of it
# even so (docs/method.md, Optics).
_HIDDEN = 0.03
# Of fewer images nothing is believed.
LEAST_IMAGES = 30


@dataclass(frozen=True, slots=True)
class Part:
    """Some parameters of a group that stand or fall together.

    Attributes
    ----------
    name : str
    value, error : (p,) float64
        What is to be added, and its standard errors; those of a magnification allow for the scale that all groups have
        in common, which the images cannot tell.
    chi_square : float
    is_significant : bool
        Chance would not make as much.
    is_added : bool
        To be changed: it is significant, or betters what was stated.
    """

    name: str
    value: Array
    error: Array
    chi_square: float
    is_significant: bool
    is_added: bool


@dataclass(frozen=True, slots=True)
class GroupFound:
    """What was found for a group.

    Attributes
    ----------
    group : int
        Index into `OpticsGroups`.
    parts : list of Part
    change : Change
        What of it is to be added.
    whole : Change
        That the last pass began with; `parts` have what that pass found beyond it, too.
    evidence : Evidence
        Of the last pass.
    """

    group: int
    parts: list[Part]
    change: Change
    whole: Change
    evidence: Evidence

    @property
    def is_significant(self) -> bool:
        """Whether anything is no chance."""
        return any(part.is_significant for part in self.parts)

    def unchanged(self) -> GroupFound:
        """With nothing that is to be changed."""
        parts = [replace(part, is_significant=False, is_added=False) for part in self.parts]
        return replace(self, parts=parts, change=Change.none())

    def phases(self, particles: Particles) -> tuple[list[tuple[str, Array, Array]], list[Array]]:
        """Phase errors for `pycryo.report.optics_figures.phase_figure`: what is seen beyond the fit, and the fit.

        The fit is what the optics of the `particles`, those of the result, lacked at first.
        """
        each = self.evidence
        x, y = frequencies(particles.optics, self.group, each.pixels)
        seen = [("antisymmetric", *each.turning), ("symmetric", *each.sizing)]
        return seen, [odd_basis(x, y) @ self.whole.odd, even_basis(x, y) @ self.whole.even]


@dataclass(frozen=True, slots=True)
class Found:
    """Result of `find_optics`.

    Attributes
    ----------
    particles : Particles
        With what is to be added.
    groups : list of GroupFound
    resolution : float
        To which images were compared, Å.
    """

    particles: Particles
    groups: list[GroupFound]
    resolution: float

    @property
    def n(self) -> int:
        """Particles that were compared."""
        return sum(each.evidence.n for each in self.groups)

    @property
    def is_significant(self) -> bool:
        """Whether anything is no chance."""
        return any(each.is_significant for each in self.groups)


@dataclass(frozen=True, slots=True)
class Fits:
    """Those of a pass; None: not looked for."""

    odd: Fitted | None
    even: Fitted | None
    magnification: Fitted | None

    @property
    def change(self) -> Change:
        none = Change.none()
        return Change(
            none.odd if self.odd is None else self.odd.value,
            none.even if self.even is None else self.even.value,
            none.magnification if self.magnification is None else self.magnification.value,
        )

    @property
    def is_still(self) -> bool:
        """Whether nothing changes by more than a part of its standard error."""
        return self._changes_less(_STILL)

    @property
    def is_restless(self) -> bool:
        """Whether anything changes by far more than its standard error."""
        return not self._changes_less(_RESTLESS)

    def _changes_less(self, share: float) -> bool:
        fits = [each for each in (self.odd, self.even, self.magnification) if each is not None]
        return all((np.abs(each.value) <= share * each.error).all() for each in fits)


def stated(optics: OpticsGroups, g: int) -> frozenset[str]:
    """Names of the parts of which a group's optics say something."""
    odd, even = (np.array([*each[g], *[0.0] * 9]) for each in (optics.odd_zernike, optics.even_zernike))
    said = {
        "beam tilt": bool(np.any(optics.beam_tilt[g]) or odd[[3, 4]].any()),
        "trefoil": bool(odd[[2, 5]].any()),
        "fourth order": bool(even[4:9].any()),
        "magnification": not np.array_equal(optics.magnification[g], np.eye(2)),
    }
    return frozenset(name for name, is_said in said.items() if is_said)


def judged(g: int, whole: Change, last: Fits, evidence: Evidence, bettered: frozenset[str] = frozenset()) -> GroupFound:
    """What of a group's change is significant, or to be added nevertheless.

    What was stated of a group is an estimate itself, as a rule of the same images at a lower resolution: what is found
    now is nearer to the truth, however little it differs.

    Parameters
    ----------
    g : int
    whole : Change
        That was made before the last pass.
    last : Fits
        What that pass found beyond it.
    evidence : Evidence
        Of that pass.
    bettered : frozenset of str
        Names of the parts that are added even if they are not significant.
    """
    applied, whole = whole, whole.plus(last.change)
    parts, none = [], Change.none()
    odd, even, magnification = none.odd.copy(), none.even.copy(), none.magnification.copy()

    def part(name: str, values: Array, fitted: Fitted, some: slice) -> bool:
        chi_square = Fitted(values, fitted.covariance).chi_square(some)
        value, error = values[some], fitted.error[some]
        of_all, of_one = _SIGNIFICANT[len(value)]
        counts = evidence.n >= LEAST_IMAGES
        counts = counts and (chi_square > of_all or bool((np.abs(value) > of_one * error).any()))
        is_added = counts or (name in bettered and evidence.n >= LEAST_IMAGES)
        if name == "magnification":
            error = np.hypot(error, _HIDDEN * np.abs(value).max())
        parts.append(Part(name, value, error, chi_square, counts, is_added))
        return is_added

    if last.odd is not None:
        tilt = part("beam tilt", whole.odd, last.odd, slice(2, 4))
        trefoil = part("trefoil", whole.odd, last.odd, slice(4, 6))
        if tilt or trefoil:
            odd[:2] = whole.odd[:2]
        if tilt:
            odd[2:4] = whole.odd[2:4]
        if trefoil:
            odd[4:] = whole.odd[4:]
    if last.even is not None:
        fourth = part("fourth order", whole.even, last.even, slice(3, 8))
        constant = last.even.covariance[8, 8] > 0 and part("phase shift", whole.even, last.even, slice(8, 9))
        if fourth or constant:
            even[:3] = whole.even[:3]
        if fourth:
            even[3:8] = whole.even[3:8]
        if constant:
            even[8] = whole.even[8]
    if last.magnification is not None and part("magnification", whole.magnification, last.magnification, slice(0, 3)):
        magnification = whole.magnification.copy()
    return GroupFound(g, parts, Change(odd, even, magnification), applied, evidence)


def with_common_scale(groups: list[GroupFound], optics: OpticsGroups) -> list[GroupFound]:
    """With standard errors that allow for a scale which all groups have in common.

    Images do not tell it, as their map has it, too: it is known as well as scales that scatter about the nominal one,
    which they do by about `_NOMINAL` as far as few groups can tell. Third powers of frequencies that are off by a share
    are off by three times as much, fourth ones, which the lens has, too, by four times. `optics` are what the groups
    had before, which may have been found in the same way.
    """
    scales = [
        float(optics.magnification[each.group][[0, 1], [0, 1]].mean()) - 1 + float(part.value[[0, 2]].mean())
        for each in groups
        for part in each.parts
        if part.name == "magnification"
    ]
    if not scales:
        return groups
    common = float(np.sqrt(np.square(np.array(scales) - np.mean(scales)).sum() + _NOMINAL**2) / len(scales))
    result = []
    for each in groups:
        powers = _powers(optics, each.group)
        parts = []
        for part in each.parts:
            stated_value, power = powers.get(part.name, (0.0, 0.0))
            whole = power * (stated_value + part.value)
            if part.name == "magnification":
                whole = np.array([1.0, 0.0, 1.0])
            parts.append(replace(part, error=np.hypot(part.error, common * whole)))
        result.append(replace(each, parts=parts))
    return result


def _powers(optics: OpticsGroups, g: int) -> dict[str, tuple[Array, float]]:
    """What a group has of each part, the lens included, and of which power of the frequency it is."""
    odd, even = (np.array([*each[g], *[0.0] * 9]) for each in (optics.odd_zernike, optics.even_zernike))
    lens = 0.5 * np.pi * 1e7 * float(optics.spherical_aberration[g] * electron_wavelength(optics.voltage[g]) ** 3)
    fourth = np.array([6 * even[6] + lens, 4 * even[7], 4 * even[5], even[8], even[4]])
    tilt = tilt_strength(optics, g) * optics.beam_tilt[g] + 3 * odd[[4, 3]]
    return {"beam tilt": (tilt, 3.0), "trefoil": (odd[[2, 5]], 3.0), "fourth order": (fourth, 4.0)}
