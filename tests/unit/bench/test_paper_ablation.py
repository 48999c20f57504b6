"""The comparison of filters: its errors are those of the poses, each filter ends, and the package's comes back."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.geometry.rotations import multiply
from pycryo.geometry.symmetry import symmetry
from pycryo.maps.density import Map
from pycryo.refinement.expectation import half_pass, panels

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench" / "paper"))
import ablation
import classic_filter


def quaternions(turns: Rotation) -> np.ndarray:
    return np.roll(turns.as_quat(), 1, axis=-1)


@pytest.mark.parametrize("name", ["C1", "C4", "D2"])
def test_errors_are_those_but_for_symmetry_and_frame(name):
    rng, group = np.random.default_rng(2), symmetry(name)
    truth = quaternions(Rotation.random(60, rng=rng))
    # A turn of the map that symmetry allows: about z by 5°, or none.
    frame = Rotation.from_rotvec([0, 0, 0 if name == "D2" else 5], degrees=True)
    wrong = np.linspace(0, 4, 60)
    axis = rng.standard_normal((60, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    turn = quaternions(Rotation.from_rotvec(axis * wrong[:, None], degrees=True))
    mates = group.quaternions[rng.integers(0, len(group), 60)]
    found = multiply(multiply(turn, multiply(truth, quaternions(frame)[None])), mates)
    # The mean of the 60 errors, of 2° in random directions, moves the frame by 2°/√60 or so.
    np.testing.assert_allclose(ablation.agree(found, truth, group).error, wrong, atol=1.0)


def test_maps_are_brought_onto_the_truth():
    """A map that was turned and moved, its poses with it, comes back."""
    rng, box = np.random.default_rng(4), 24
    line = np.arange(box) - box // 2
    points, strength = rng.uniform(-5, 5, (6, 3)), rng.uniform(1, 2, 6)
    frame, move = Rotation.from_rotvec([0.1, -0.05, 0.08]), np.array([0.6, -0.4, 0.3])

    def density(at):
        z, y, x = np.meshgrid(line, line, line, indexing="ij")
        squares = [(x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 for a, b, c in at]
        return sum(s * np.exp(-r / 8) for s, r in zip(strength, squares, strict=True)).astype(np.float32)

    # Poses A become A·F, points F⁻¹x + c; shifts lose what the move adds in the image.
    true = Rotation.random(50, rng=rng)
    found = true * frame
    agreement = ablation.agree(quaternions(found), quaternions(true), symmetry("C1"))
    moved = Map(density(frame.inv().apply(points) + move), 2.0)
    back = ablation.aligned(moved, agreement, found.apply(move)[:, :2] * moved.pixel_size)
    # Blobs of 2 px, by cubic splines.
    np.testing.assert_allclose(back.data, density(points), atol=0.02)


def test_cloud_of_the_classic_filter():
    """Mean and widths of a narrow cloud: the vector part is half the rotation vector."""
    spread = np.array([0.02, 0.04, 0.06])
    turns = Rotation.from_rotvec(np.random.default_rng(3).standard_normal((20_000, 3)) * spread)
    centre = Rotation.from_rotvec([0.3, 1.0, -0.2])
    mean, width = classic_filter._cloud(quaternions(turns * centre)[None])
    assert Rotation.from_quat(np.roll(mean[0], -1)).inv().as_matrix() @ centre.as_matrix() == pytest.approx(
        np.eye(3), abs=2e-3
    )  # 0.06/√20000 = 0.0004, five of them
    # Variances of 20 000 draws are known to 1 %, those of the sine to 0.1 %.
    np.testing.assert_allclose(2 * np.sqrt(width[0]), spread, rtol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", ablation.FILTERS)
def test_each_filter_refines(tiny_set, name):
    before = half_pass.sample_posterior, panels.flatten_weights
    found = ablation.measure(name, tiny_set, "C1", 1, 1)
    assert (half_pass.sample_posterior, panels.flatten_weights) == before
    assert all(np.isfinite(value) for key, value in found.items() if key != "filter")
    # Three blobs within 10 px: the scan's step alone is above 10°. The classic filter goes astray with 40 images.
    assert found["error"] < 20 or name == "classic"
    assert (found["slices_global"] == 0) == (name == "grid")
    line = ablation.table([{"set": "tiny"} | found, {"set": "tiny"} | found]).splitlines()[-1]
    assert line.startswith(f"| tiny | {name} | {found['error']:.2f}°")
