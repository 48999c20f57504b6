"""Initial maps of small sets whose poses are known: found from nothing, up to the hand."""

import dataclasses

import numpy as np
import pytest
from scene import lump, pose_errors, scene
from scipy.spatial.transform import Rotation

from pycryo import RefineOptions, refine
from pycryo.geometry.rotations import multiply
from pycryo.geometry.symmetry import symmetry
from pycryo.refinement.start.abinitio import abinitio
from pycryo.refinement.start.abinitio_options import AbinitioOptions

# What is coarser than 15 Å, 30 Å from the centre, is seen to turn by 15/30 rad / 4, and the images have noise.
ANGLE = 8.0
HALF_TURN = np.array([0.0, 0.0, 0.0, 1.0])  # in the image: from a map to its mirror image


def errors(poses, particles, group=None):
    """Degrees, modulo one rotation of the map and its hand."""
    both = (poses, dataclasses.replace(poses, quaternion=multiply(HALF_TURN, poses.quaternion)))
    found = [_errors(each, particles, group) for each in both]
    return min(found, key=np.median)


def _errors(poses, particles, group):
    """`pose_errors` begins with maps that are hardly turned: these are brought there by one image after the other."""
    angles = np.stack([particles.rot, particles.tilt, particles.psi], axis=1)[poses.rows]
    true = Rotation.from_euler("ZYZ", angles, degrees=True).inv()
    found = Rotation.from_quat(np.roll(poses.quaternion, -1, axis=1))
    best = None
    for i in range(0, len(true), 5):
        common = true[i].inv() * found[i]
        turned = np.roll((found * common.inv()).as_quat(), 1, axis=1)
        error = pose_errors(dataclasses.replace(poses, quaternion=turned), particles, group)[0]
        if best is None or np.median(error) < np.median(best):
            best = error
    return best


@pytest.mark.parametrize("name, n", [("C1", 120), ("D3", 60)])
def test_finds_poses_from_nothing(tmp_path, name, n):
    turns = Rotation.create_group("D3")  # threefold axis z, a twofold axis x
    group = turns if name == "D3" else None
    particles, _, _ = scene(tmp_path, lump(group), n, snr=0.3)
    found = abinitio(particles, AbinitioOptions(symmetry=name, threads=2))
    error = errors(found.poses, particles, group)
    assert np.median(error) < ANGLE
    assert (error < 20).mean() > 0.9
    # The diameter is estimated: blobs of 3 to 4.5 Å within 30 Å of the centre.
    assert 50 < found.diameter < 95
    # The tries that went on were the likeliest.
    for leg in found.legs:
        assert leg.kept == sorted(leg.evidence, key=lambda number: -leg.evidence[number])[: len(leg.kept)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["T", "O", "I1"])
def test_finds_polyhedral_poses_from_nothing(tmp_path, name):
    """Of a hollow body, see test_refine."""
    group = Rotation.from_matrix(symmetry(name).matrices)
    phantom = lump(group, n=3, extent=45.0, inner=0.7, seed=0)
    particles, _, _ = scene(tmp_path, phantom, 80, snr=0.5, geometries=((40, 3.5),))
    found = abinitio(particles, AbinitioOptions(symmetry=name, threads=2))
    error = errors(found.poses, particles, group)
    assert np.median(error) < 3.0
    assert (error < 20).mean() > 0.95


@pytest.mark.slow
def test_refines_to_the_truth(tmp_path):
    """The map is on the grey scale and the grid of the images, and all that a refinement needs."""
    particles, _, _ = scene(tmp_path, lump(), 120, snr=0.3)
    found = abinitio(particles, AbinitioOptions(tries=3, threads=2))
    result = refine(particles, found.map, RefineOptions(threads=2))
    # As from a reference of 30 Å (test_refine).
    assert np.median(errors(result.poses, particles)) < 4.8
