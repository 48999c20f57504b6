"""A stack that vanishes, is changed or cut between two iterations: told with its path; the last checkpoint goes on."""

import os
import threading

import numpy as np
import pytest
from scene import lump, scene

from pycryo import RefineOptions, refine
from pycryo.errors import RunError
from pycryo.io import mrc_stacks

OPTIONS = RefineOptions(ini_high=30.0, max_iter=3, threads=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Particles, a reference, and what a run makes of them that nothing disturbs."""
    particles, _, start = scene(tmp_path_factory.mktemp("lost"), lump(), 24, snr=0.8, geometries=((20, 5.0),))
    return particles, start, refine(particles, start, OPTIONS)


@pytest.fixture
def given(whole):
    """`whole`, with the stack as it was when the particles were read."""
    (stack,) = whole[0].stacks
    content, found = stack.read_bytes(), stack.stat()

    def restore():
        stack.write_bytes(content)
        os.utime(stack, (found.st_atime, found.st_mtime))

    yield *whole, stack, restore
    restore()


def touch(stack):
    found = stack.stat()
    os.utime(stack, (found.st_atime, found.st_mtime + 10))


HARM = {
    "no longer there": (lambda stack: stack.unlink(), "cannot read .*: No such file"),
    "changed": (touch, "was changed during the run; bring back the file"),
    "cut off": (lambda stack: os.truncate(stack, 5000), "was cut off during the run"),
}


@pytest.mark.parametrize("name", HARM)
def test_told_and_gone_on_with(given, tmp_path, monkeypatch, name):
    harm, message = HARM[name]
    particles, start, expected, stack, restore = given
    monkeypatch.setattr(mrc_stacks, "LATE", 0.0)

    def observe(setup, outcome, history):
        if outcome.record.number == 1:
            harm(stack)

    with pytest.raises(RunError, match=message) as caught:
        refine(particles, start, OPTIONS, observer=observe, checkpoint=tmp_path / "saved")
    assert str(stack) in str(caught.value)
    restore()
    result = refine(particles, start, OPTIONS, checkpoint=tmp_path / "saved", resume=True)
    np.testing.assert_array_equal(result.map.data, expected.map.data)


def test_out_of_sight_for_a_while(given, tmp_path, caplog):
    particles, start, expected, stack, _ = given
    hidden = tmp_path / "hidden"

    def observe(setup, outcome, history):
        if outcome.record.number == 1:
            stack.rename(hidden)
            threading.Timer(0.3, lambda: hidden.rename(stack)).start()

    result = refine(particles, start, OPTIONS, observer=observe)
    np.testing.assert_array_equal(result.map.data, expected.map.data)
    assert f"{stack} is not there" in caplog.text
