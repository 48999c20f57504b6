"""References, masks and limits against the images that they are for."""

import numpy as np
import pytest
from particle_files import star_31

from pycryo.checks.maps import check_limits, read_maps, refuse_coarse, usual_grid
from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.mrc import write_map
from pycryo.io.particles import read_particles
from pycryo.maps.density import soft_sphere


@pytest.fixture
def particles(tmp_path):
    """Images of 8 px of 1.5 Å."""
    return read_particles(star_31(tmp_path))


def test_limits_that_are_wider_than_the_images(particles):
    assert usual_grid(particles) == (8, 1.5)
    findings = Findings()
    check_limits(particles, findings, {"--ini-high": 6.0}, 12.0)
    assert not findings.items
    check_limits(particles, findings, {"--ini-high": 6.1, "--x": 100.0}, 12.5)
    texts = [each.text for each in findings.errors]
    assert "--ini-high is 6.1 Å, but the box is only 12 Å wide" in texts[0]
    assert "--x is 100 Å" in texts[1]
    assert "the particle diameter 12 Å is larger than the images (12 Å): give a smaller --diameter" in texts[2]
    with pytest.raises(InputError, match="give at most 6 Å"):
        refuse_coarse("--low-pass", 7.0, 8, 1.5)


def test_all_maps_are_looked_at(particles, tmp_path):
    ball = soft_sphere(8, 2, 1)
    write_map(tmp_path / "good.mrc", ball, 1.5)
    write_map(tmp_path / "other.mrc", ball, 3.0)
    write_map(tmp_path / "box.mrc", soft_sphere(16, 4, 2), 0.75)
    write_map(tmp_path / "high.mrc", 3 * ball, 1.5)
    findings = Findings()
    maps, mask = read_maps([tmp_path / "good.mrc", tmp_path / "box.mrc"], tmp_path / "good.mrc", particles, findings)
    assert not findings.items
    assert (len(maps), mask.box) == (2, 8)
    names = [tmp_path / "none.mrc", tmp_path / "other.mrc"]
    maps, mask = read_maps(names, tmp_path / "high.mrc", particles, findings)
    assert (len(maps), mask) == (1, None)
    assert ["none.mrc" in each.text or "between 0 and 1" in each.text for each in findings.errors] == [True, True]
    (warning,) = findings.warnings
    assert "has a box of 8 px as well, but pixels of 3 Å, not 1.5 Å" in warning.text


def test_maps_without_particles(tmp_path):
    write_map(tmp_path / "good.mrc", soft_sphere(8, 2, 1), 1.5)
    findings = Findings()
    maps, _ = read_maps([tmp_path / "good.mrc"], None, None, findings)
    np.testing.assert_array_equal(maps[0].data, soft_sphere(8, 2, 1))
    assert not findings.items


def test_pixels_of_1_angstrom_and_masks_inside_out_are_told(particles, tmp_path):
    write_map(tmp_path / "one.mrc", soft_sphere(16, 4, 2), 1.0)
    write_map(tmp_path / "fits.mrc", soft_sphere(12, 3, 2), 1.0)  # as wide as 8 px of 1.5 Å
    write_map(tmp_path / "out.mrc", 1 - soft_sphere(8, 2, 1), 1.5)
    findings = Findings()
    read_maps([tmp_path / "one.mrc", tmp_path / "fits.mrc"], tmp_path / "out.mrc", particles, findings)
    texts = [each.text for each in findings.warnings]
    assert len(texts) == 2
    assert "one.mrc has pixels of 1 Å in its header" in texts[0]
    assert "16 Å wide, not 12 Å" in texts[0]
    assert "out.mrc is 1 at the faces of its box and lower within" in texts[1]
    assert not findings.errors
