"""`pycryo.kernels.mates` against its twin, which has the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
from octahedral import cube_rotations

from pycryo.kernels.mates import add_mates
from pycryo.kernels.reference import mates as twin
from pycryo.kernels.sphere import sphere


def folded(ball, rng):
    """Values with conjugate mates in the plane x = 0."""
    value = rng.standard_normal(ball.n_voxel) + 1j * rng.standard_normal(ball.n_voxel)
    x, y, z = twin.coordinates(ball)
    first = np.flatnonzero(x == 0)
    second = ball.start[(ball.radius - y[first]) * ball.layers + ball.radius - z[first]]
    value[first] = 0.5 * (value[first] + value[second].conj())
    return value


@pytest.mark.parametrize("rotation", cube_rotations())
@pytest.mark.parametrize("radius", [1, 2, 9])
def test_mates_of_all_voxels(radius, rotation, rng):
    """Each voxel is added to once: the sums are the twin's to the last bit."""
    ball = sphere(radius)
    value, before = folded(ball, rng), rng.standard_normal(ball.n_voxel)
    expected = twin.at_mates(ball, value, rotation)
    whole = (0, ball.layers)
    for threads in (1, 3):
        for part, imaginary in (("real", False), ("imag", True)):
            found = before.copy()
            source = np.ascontiguousarray(getattr(value, part))
            add_mates(found, whole, source, whole, ball, rotation, imaginary=imaginary, threads=threads)
            np.testing.assert_array_equal(found, before + getattr(expected, part))


@pytest.mark.parametrize("rotation", cube_rotations())
def test_mates_of_slabs_from_slabs(rotation, rng):
    """Pieces of any size, also of no layer, add up to the whole."""
    ball = sphere(8)
    source = np.ascontiguousarray(folded(ball, rng).imag)
    expected = np.zeros(ball.n_voxel)
    add_mates(expected, (0, ball.layers), source, (0, ball.layers), ball, rotation, imaginary=True)
    found = np.zeros(ball.n_voxel)
    for layers in ((0, 0), (0, 5), (5, 6), (6, ball.layers)):
        target = found[slice(*ball.voxels(*layers))]
        for others in ((0, 1), (1, 1), (1, 11), (11, ball.layers)):
            piece = source[slice(*ball.voxels(*others))]
            add_mates(target, layers, piece, others, ball, rotation, imaginary=True)
    np.testing.assert_array_equal(found, expected)


def test_wrong_arguments():
    ball = sphere(3)
    whole, identity = (0, ball.layers), np.eye(3, dtype=np.int32)
    values, others = np.zeros(ball.n_voxel), np.zeros(ball.n_voxel)
    with pytest.raises(ValueError, match="target, source: expected different memory"):
        add_mates(values, whole, values, whole, ball, identity)
    with pytest.raises(ValueError, match="rotation: expected one 1 or -1"):
        add_mates(values, whole, others, whole, ball, np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], np.int32))
    with pytest.raises(ValueError, match="rotation: expected one 1 or -1"):
        add_mates(values, whole, others, whole, ball, 2 * identity)
    with pytest.raises(ValueError, match="target: expected shape"):
        add_mates(values[1:], whole, others, whole, ball, identity)
    with pytest.raises(ValueError, match="source: expected shape"):
        add_mates(values, whole, others[1:], whole, ball, identity)
    with pytest.raises(ValueError, match="layers: expected 0 to 7"):
        add_mates(values, (0, 8), others, whole, ball, identity)
