"""Standard errors allow for a scale that all groups have in common."""

from types import SimpleNamespace

import numpy as np
import pytest

from pycryo.refinement.optics.change import Change
from pycryo.refinement.optics.fit import Fitted
from pycryo.refinement.optics.found import Fits, GroupFound, Part, judged, with_common_scale

ERROR = 1e-4


def part(name, *values):
    return Part(name, np.array(values), np.full(len(values), ERROR), 1.0, True, True)


def group(number, scale, *more):
    none = Change.none()
    return GroupFound(number, [part("magnification", scale, 2e-3, scale), *more], none, none, evidence=None)


def optics(*scales, tilt=(0.0, 0.0), odd=(), even=()):
    n = len(scales)
    return SimpleNamespace(
        magnification=np.eye(2) * (1 + np.array(scales))[:, None, None],
        beam_tilt=np.tile(tilt, (n, 1)),
        odd_zernike=(odd,) * n,
        even_zernike=(even,) * n,
        spherical_aberration=np.full(n, 2.7),
        voltage=np.full(n, 300.0),
    )


def test_what_was_found_before_counts():
    """Groups that scatter by 0.3 % in all: found at once, or stated by an earlier search that left nothing to find."""
    scales = np.array([0.003, -0.003, 0.0])
    at_once = with_common_scale([group(g, scale) for g, scale in enumerate(scales)], optics(0, 0, 0))
    later = with_common_scale([group(g, 0.0) for g in range(3)], optics(*scales))
    common = np.sqrt(2 * 0.003**2 + 0.01**2) / 3
    for found in (at_once, later):
        for each in found:
            np.testing.assert_allclose(each.parts[0].error, [np.hypot(ERROR, common), ERROR, np.hypot(ERROR, common)])


@pytest.mark.parametrize("scale", [0.0, 0.01])
def test_one_group_is_off_by_as_much_as_microscopes_are(scale):
    (found,) = with_common_scale([group(0, scale)], optics(0))
    wide = np.hypot(ERROR, 0.01)
    np.testing.assert_allclose(found.parts[0].error, [wide, ERROR, wide])


def test_aberrations_are_of_powers_of_the_frequency():
    """A scale of 1.01 makes third powers 3 % larger, fourth ones, the lens's too, 4 %."""
    waves = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = group(0, 0.0, part("beam tilt", 10.0, 0.0), part("trefoil", 5.0, 6.0), part("fourth order", *waves))
    before = optics(0, odd=(0, 0, 1.0, 0, 0, -6.0), even=(0, 0, 0, 0, 50.0, 30.0, 10.0, 20.0, 40.0))
    _, tilt, trefoil, fourth = with_common_scale([found], before)[0].parts
    np.testing.assert_allclose(tilt.error, [np.hypot(ERROR, 0.3), ERROR], rtol=1e-6)
    np.testing.assert_allclose(trefoil.error, [np.hypot(ERROR, 0.18), ERROR], rtol=1e-6)
    lens = np.pi / 2 * 2.7e7 * 0.0196875**3
    whole = np.array([61 + lens, 82, 123, 44, 55])
    np.testing.assert_allclose(fourth.error, 0.04 * whole, rtol=1e-4)
    strength = -2 * np.pi * 2.7e7 * 0.0196875**2 * 1e-3
    _, tilted = with_common_scale([group(0, 0.0, part("beam tilt", 0.0, 0.0))], optics(0, tilt=(1.0, -2.0)))[0].parts
    np.testing.assert_allclose(tilted.error, 0.03 * np.abs(strength) * np.array([1.0, 2.0]), rtol=1e-4)


def test_a_change_of_the_magnification_is_hidden_in_part():
    """By 3 %, which says nothing of whether there is any."""
    fitted = Fitted(np.array([0.01, 0.02, -0.01]), ERROR**2 * np.eye(3))
    found = judged(0, Change.none(), Fits(None, None, fitted), SimpleNamespace(n=100))
    (seen,) = found.parts
    np.testing.assert_allclose(seen.error, np.hypot(ERROR, 6e-4))
    assert seen.chi_square == pytest.approx(6e-4 / ERROR**2)
    assert seen.is_significant


def test_no_magnification_was_looked_for():
    none = Change.none()
    found = [GroupFound(0, [part("trefoil", 1.0, 2.0)], none, none, evidence=None)]
    assert with_common_scale(found, optics(0)) == found
