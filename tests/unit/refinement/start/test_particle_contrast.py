"""Dark particles are told by the first scan, and by images alone where there is no reference."""

import logging
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from scene import lump, scene
from thread_comm import run_ranks

from pycryo.io.particles import read_particles
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.partition import deal
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.start.abinitio import _set_up
from pycryo.refinement.start.abinitio_options import AbinitioOptions
from pycryo.refinement.start.contrast import DARK, darkness
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same noisy particles light on dark and dark on light, images of noise, and a reference."""
    folder = tmp_path_factory.mktemp("contrast")
    light, _, reference = scene(folder, lump(), 80, snr=0.1)
    made = {"light": light}
    images = mrcfile.read(light.stacks[0])
    rng = np.random.default_rng(4)
    for name, data in (("dark", -images), ("noise", rng.normal(size=images.shape))):
        other = folder.parent / f"{folder.name}_{name}"
        other.mkdir()
        (other / "particles.star").write_text(light.path.read_text())
        with mrcfile.new(other / light.stacks[0].name) as file:
            file.set_data(data.astype(np.float32))
            file.set_image_stack()
            file.voxel_size = 3.5
        made[name] = read_particles(other / "particles.star")
    return made, reference


def told(particles, reference, options, caplog):
    """What the log proposes before the first iteration."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        setup, starts = set_up(SerialComm(), particles, reference, None, options)
        first_state(setup, starts)
        setup.background.close()
        setup.free()
    return caplog.text


def test_the_first_scan_tells_dark_particles(sets, caplog):
    made, reference = sets
    options = RefineOptions(threads=1)
    inverted = replace(options, invert_contrast=True)
    assert "contrast inverted: give --invert-contrast" in told(made["dark"], reference, options, caplog)
    assert "contrast inverted: leave out --invert-contrast" in told(made["light"], reference, inverted, caplog)
    for name, right in (("light", options), ("dark", inverted), ("noise", options), ("noise", inverted)):
        assert "contrast" not in told(made[name], reference, right, caplog)


def dark_of(comm, particles):
    partition = deal(comm, particles, np.zeros(particles.n, np.int8), None)
    found = darkness(partition, 70.0)
    partition.free()
    return found


def test_darkness(sets):
    made, _ = sets
    light, dark, noise = (dark_of(SerialComm(), made[name]) for name in ("light", "dark", "noise"))
    assert light < -DARK
    assert dark == -light
    # A mean of 80 in units of its error.
    assert abs(noise) < 4
    assert set(run_ranks(3, lambda comm: dark_of(comm, made["dark"]))) == {dark}
    assert dark_of(SerialComm(), made["dark"].subset(np.arange(9))) == 0


def test_abinitio_tells_dark_particles(sets, caplog):
    made, _ = sets
    with caplog.at_level(logging.WARNING):
        setup, *_ = _set_up(SerialComm(), made["dark"], AbinitioOptions(threads=1))
        setup.free()
    assert "darker than their surroundings: if they are dark on light, give --invert-contrast" in caplog.text
