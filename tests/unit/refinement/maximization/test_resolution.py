"""How far half-maps agree, for the control of a refinement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pycryo.maps.fsc import Fsc
from pycryo.refinement.maximization.resolution import limited, ssnr_of, supported_shell
from pycryo.refinement.outcome import ClassMaps


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


def test_the_map_of_all_data_has_what_comes_back_and_references_do_not():
    curve = [1, 1, 0.9, 0.8, 0.3, 0.0, 0.0, 0.4, 0.5, 0.3, 0, 0, 0]
    before, found = curves(curve), replace(curves(curve), returned=((7, 9),))
    np.testing.assert_array_equal(ssnr_of(found, combined=False), ssnr_of(before, combined=False))
    np.testing.assert_allclose(ssnr_of(found, combined=True)[7:10], 2 * np.array([0.4 / 0.6, 1, 0.3 / 0.7]))
    others = np.r_[:7, 10:13]
    np.testing.assert_array_equal(ssnr_of(found, combined=True)[others], ssnr_of(before, combined=True)[others])
    np.testing.assert_allclose(ssnr_of(before, combined=True)[5:], 2e-3 / 0.999)


def test_a_limited_fsc_has_nothing_that_comes_back():
    found = replace(curves([1, 1, 0.9, 0.1, 0, 0, 0.4, 0.4, 0.4, 0, 0]), returned=((6, 8),))
    maps = limited(ClassMaps((None, None), found, None, None), found.resolution[3] * 1.01)
    assert maps.fsc.returned == ()
    assert maps.fsc.corrected[2] == 0.9
    assert not maps.fsc.corrected[3:].any()
