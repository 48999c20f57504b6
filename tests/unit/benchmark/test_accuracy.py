"""Errors beside the speeds: those of float32 or float64, for every kernel that has them."""

import pytest

from pycryo.benchmark import accuracy

# Float32 rounds by 6e-8. Places of samples, up to 40 padded px, are rounded as well where the volume is read, and noise
# changes by its size from voxel to voxel: 40·6e-8 of it.
MOST = {"projector": 5e-6, "compare": 1e-6, "compare_local": 5e-6, "ctf": 3e-7, "shift": 3e-7, "backprojector": 3e-6}
MOST |= {"images": 1e-6, "shells": 1e-14, "defocus_scores": 1e-13, "gridding_weights": 1e-14}


@pytest.mark.parametrize("name", MOST)
def test_errors_are_those_of_the_precision(name):
    assert 0 <= getattr(accuracy, f"of_{name}")() < MOST[name]


def test_all_are_tested():
    assert {name for name in vars(accuracy) if name.startswith("of_")} == {f"of_{name}" for name in MOST}


def test_relative():
    assert accuracy.relative([[3.0], [4.0]], [[3.0], [5.0]]) == pytest.approx(1 / 34**0.5)
