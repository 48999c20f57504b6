"""How far half-maps agree, for the control of a refinement."""

from __future__ import annotations

import numpy as np
import pytest

from pycryo.maps.fsc import Fsc
from pycryo.refinement.maximization.resolution import supported_shell


def curves(corrected):
    corrected = np.asarray(corrected, float)
    return Fsc(2 * (len(corrected) - 1), 1.5, corrected, corrected, corrected, corrected, len(corrected))


def test_a_single_shell_at_a_zero_of_the_ctf_is_passed_over():
    falling = [1, 1, 0.9, 0.8, 0.5, 0.05, 0.4, 0.3, 0.3, 0, 0, 0, 0]
    found = curves(falling)
    assert found.box * found.pixel_size / found.resolution_0143 < 5
    assert 8 < supported_shell(found) < 9.5


def test_two_shells_without_agreement_are_the_end():
    assert supported_shell(curves([1, 1, 0.9, 0.8, 0.3, 0.0, 0.0, 0.4, 0.4, 0.3, 0, 0, 0])) < 6


def test_a_curve_without_a_gap_ends_about_where_it_falls():
    falling = np.clip(1.2 - 0.1 * np.arange(17), 0, 1)
    found = curves(falling)
    shell = found.box * found.pixel_size / found.resolution_0143
    assert supported_shell(found) == pytest.approx(shell, abs=0.7)
