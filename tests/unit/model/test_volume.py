"""The shared reference volume against the padded transform of one process."""

from __future__ import annotations

import numpy as np
import pytest
from thread_comm import ThreadComm, run_ranks

from pycryo.kernels.projector import fourier_volume
from pycryo.maps.density import Map
from pycryo.maps.slab_map import from_map
from pycryo.model import volume as volume_module
from pycryo.model.volume import shared_volume
from pycryo.parallel.comm import SerialComm


@pytest.fixture(autouse=True)
def small_messages(monkeypatch):
    """A few layers each, or one where 2 kB do not hold it."""
    monkeypatch.setattr(volume_module, "_MESSAGE_BYTES", 2000)


def density(points: int) -> Map:
    return Map(np.random.default_rng(points).standard_normal((points,) * 3, dtype=np.float32), 1.5)


def read(padding: int, r_high: float, radius: int) -> np.ndarray:
    """Voxels that samples with |k| < r_high read: all eight about each."""
    line = np.arange(-radius, radius + 1)
    least = [np.maximum(np.abs(axis) - 1, 0) for axis in (line, line, line[radius:])]
    square = sum(np.square(axis) for axis in np.meshgrid(*least, indexing="ij"))
    return square < (padding * r_high) ** 2


@pytest.mark.parametrize("points, padding", [(12, 2), (13, 2), (12, 1), (13, 1), (9, 3), (24, 2)])
@pytest.mark.parametrize("r_high", [2.2, 5.0, 100.0])
def test_is_the_transform_of_the_whole_map(points, padding, r_high):
    source, box = density(points), 31
    with shared_volume(SerialComm(), from_map(SerialComm(), source), box, padding, r_high) as found:
        limit = min(r_high, points / 2 - 1)
        assert (found.box, found.padding, found.r_high) == (box, padding, limit)
        expected = fourier_volume(source.data, padding=padding, r_high=limit)
        assert found.data.shape == expected.data.shape
        assert found.data.flags.c_contiguous
        wanted = read(padding, limit, expected.radius)
        scaled = expected.data * (box / points) ** 3
        # Two float32 transforms: below ten units of the last place of the largest value.
        np.testing.assert_allclose(found.data[wanted], scaled[wanted], atol=10 * 6e-8 * np.abs(scaled).max(), rtol=0)
        assert np.isfinite(found.data).all()


@pytest.mark.parametrize("size, ranks_per_node", [(2, 2), (2, 1), (3, 2), (5, 2), (17, 5)])
@pytest.mark.parametrize("points", [12, 13])
def test_ranks_and_nodes_change_no_bit(size, ranks_per_node, points, monkeypatch):
    monkeypatch.setattr(ThreadComm, "ranks_per_node", ranks_per_node)
    source = density(points)
    with shared_volume(SerialComm(), from_map(SerialComm(), source), 31, 2, 5.5) as alone:

        def work(comm):
            with shared_volume(comm, from_map(comm, source), 31, 2, 5.5) as found:
                return found.data.copy()

        for data in run_ranks(size, work):
            np.testing.assert_array_equal(data, alone.data)
