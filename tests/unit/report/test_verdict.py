"""Warnings about poses that nothing is known of, and about views that leave directions out."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.geometry.grids import even_spread
from pycryo.geometry.symmetry import symmetry
from pycryo.report.angdist import sampling_factor, view_directions
from pycryo.report.verdict import poses_warning, supported_resolution, views_warning


def test_spread_of_even_poses_of_no_symmetry():
    # Of uniform rotations the angle has the density (1 - cos ω)/π, so the mean square π²/3 + 2; 2000 points of a grid
    # give it to 0.1 %.
    assert even_spread(symmetry("C1")) == pytest.approx(np.rad2deg(np.sqrt((np.pi**2 / 3 + 2) / 3)), rel=5e-3)


@pytest.mark.parametrize("name", ["C7", "D2", "O", "I1"])
def test_spread_of_even_poses(name):
    group = symmetry(name)
    turns = Rotation.random(20_000, rng=np.random.default_rng(1))
    mates = Rotation.from_matrix(group.matrices)
    angle = np.min([(turns * mate).magnitude() for mate in mates], axis=0)
    # 20 000 draws give the root mean square to 0.3 %, the grid of a unit to some tenths, and 2000/60 rotations to 2 %.
    assert even_spread(group) == pytest.approx(np.rad2deg(np.sqrt(np.square(angle).mean() / 3)), rel=0.03)


@pytest.mark.parametrize("name, spread", [("C1", 60.0), ("C1", 75.0), ("D2", 40.0), ("I1", 16.0)])
def test_unknown_poses_are_warned_of(name, spread):
    assert "do not support a map beyond 40 Å" in (poses_warning(spread, 33.0, 40.0, symmetry(name)) or "")
    assert "beyond 57 Å" in (poses_warning(spread, 57.0, 40.0, symmetry(name)) or "")


def test_resolution_that_the_poses_support():
    group = symmetry("C1")
    assert supported_resolution(60.0, 33.0, 40.0, group) == 40
    assert supported_resolution(60.0, 57.0, 40.0, group) == 57
    assert supported_resolution(2.0, 9.0, 40.0, group) == 9


@pytest.mark.parametrize("name, spread", [("C1", 18.0), ("C1", 1.0), ("D2", 5.0), ("I1", 2.0)])
def test_known_poses_are_not(name, spread):
    assert poses_warning(spread, 9.0, 40.0, symmetry(name)) is None


@pytest.mark.parametrize("n", [150, 500, 3000])
@pytest.mark.parametrize("exponent, warns", [(1.0, False), (1 - 0.8 * 0.5, False), (1 - 0.8 * 0.8, True)])
def test_views_that_prefer_a_pole(n, exponent, warns):
    """|cos tilt| = u^exponent with even u: even views for 1."""
    rng = np.random.default_rng(3)
    for name in ("C1", "D2"):
        z = rng.choice([-1, 1], n) * rng.uniform(0, 1, n) ** exponent
        tilts = Rotation.from_euler("ZYZ", np.stack([rng.uniform(0, 6.28, n), np.arccos(z), np.zeros(n)], axis=1))
        views = view_directions(np.roll(tilts.as_quat(), 1, axis=1) * [1, -1, -1, -1], symmetry(name))
        assert (views_warning(sampling_factor(views), n) is not None) == warns


def test_few_particles_say_nothing_of_the_views():
    assert views_warning(0.1, 49) is None
    assert "0.10" in (views_warning(0.1, 50) or "")
