"""Maps for pictures: those of large boxes are thinned in place."""

import numpy as np
import pytest

from pycryo.errors import InputError
from pycryo.io.mrc import read_map, write_map
from pycryo.report import run_files
from pycryo.report.run_files import read_thinned


def test_small_maps_are_read_whole(tmp_path, rng):
    write_map(tmp_path / "a.mrc", rng.standard_normal((12, 12, 12), np.float32), 2.0)
    found, whole = read_thinned(tmp_path / "a.mrc"), read_map(tmp_path / "a.mrc")
    np.testing.assert_array_equal(found.data, whole.data)
    assert found.pixel_size == whole.pixel_size


@pytest.mark.parametrize("box, most, step", [(12, 6, 2), (13, 6, 3), (14, 6, 3), (15, 5, 3), (16, 9, 2)])
def test_large_maps_are_thinned_about_their_origin(tmp_path, monkeypatch, rng, box, most, step):
    monkeypatch.setattr(run_files, "_MOST_BOX", most)
    data = rng.standard_normal((box, box, box), np.float32)
    write_map(tmp_path / "a.mrc", data, 2.0)
    means = read_thinned(tmp_path / "a.mrc")
    n = 2 * (box // 2 // step)
    assert means.box == n
    assert means.pixel_size == pytest.approx(2.0 * step)
    for place in ((0, 0, 0), (n // 2,) * 3, (n - 1, 0, 1)):
        first = [box // 2 + (each - n // 2) * step for each in place]
        block = data[tuple(slice(each, each + step) for each in first)]
        np.testing.assert_allclose(means.data[place], block.mean(), rtol=1e-5, atol=1e-6)  # float32 sums


def test_large_maps_that_are_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "_MOST_BOX", 4)
    data = np.ones((8, 8, 8), np.float32)
    data[3, 3, 3] = np.nan
    write_map(tmp_path / "a.mrc", data, 2.0)
    with pytest.raises(InputError, match="NaN or infinite"):
        read_thinned(tmp_path / "a.mrc")
