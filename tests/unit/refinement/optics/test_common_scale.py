"""Standard errors of magnifications allow for a scale that all groups have in common."""

import numpy as np
import pytest

from pycryo.refinement.optics.change import Change
from pycryo.refinement.optics.found import GroupFound, Part, with_common_scale

ERROR = 1e-4


def group(number, scale):
    part = Part("magnification", np.array([scale, 2e-3, scale]), np.full(3, ERROR), 1.0, True, True)
    none = Change.none()
    return GroupFound(number, [part], none, none, evidence=None)


def test_what_was_found_before_counts():
    """Groups that scatter by 0.3 % in all: found at once, or stated by an earlier search that left nothing to find."""
    scales = np.array([0.003, -0.003, 0.0])
    at_once = with_common_scale([group(g, scale) for g, scale in enumerate(scales)], np.zeros(3))
    later = with_common_scale([group(g, 0.0) for g in range(3)], scales)
    common = np.sqrt(2 * 0.003**2 + 0.01**2) / 3
    for found in (at_once, later):
        for each in found:
            np.testing.assert_allclose(each.parts[0].error, [np.hypot(ERROR, common), ERROR, np.hypot(ERROR, common)])


@pytest.mark.parametrize("scale", [0.0, 0.01])
def test_one_group_is_off_by_as_much_as_microscopes_are(scale):
    (found,) = with_common_scale([group(0, scale)], np.zeros(1))
    wide = np.hypot(ERROR, 0.01)
    np.testing.assert_allclose(found.parts[0].error, [wide, ERROR, wide])


def test_no_magnification_was_looked_for():
    none = Change.none()
    found = [GroupFound(0, [], none, none, evidence=None)]
    assert with_common_scale(found, np.zeros(1)) == found
