"""MTF files: read, interpolated, refused."""

import numpy as np
import pandas as pd
import pytest
import starfile

from pycryo.errors import InputError
from pycryo.postprocessing.mtf import FREQUENCY, VALUE, read_mtf


def write(path, frequency, value):
    starfile.write(pd.DataFrame({FREQUENCY: frequency, VALUE: value}), path)
    return path


def test_values_between_and_beyond_the_points(tmp_path):
    mtf = read_mtf(write(tmp_path / "mtf.star", [0.0, 0.25, 0.5], [1.0, 0.6, 0.2]), 2.0)
    # 1/Å times 2 Å are the 1/px of the file.
    np.testing.assert_allclose(mtf.at(np.array([0.0, 0.0625, 0.125, 0.25, 0.4])), [1, 0.8, 0.6, 0.2, 0.2], atol=1e-6)


def test_a_value_of_zero_does_not_blow_up(tmp_path):
    mtf = read_mtf(write(tmp_path / "mtf.star", [0.0, 0.5], [1.0, 0.0]), 1.0)
    assert mtf.at(np.array([0.5]))[0] == 1e-3


@pytest.mark.parametrize(
    "frequency, value, words",
    [
        ([0.0], [1.0], "ascend"),
        ([0.0, 0.2, 0.1], [1.0, 0.5, 0.2], "ascend"),
        ([0.0, 0.5], [1.0, -0.1], "positive"),
        ([0.0, 0.5], [0.0, 0.1], "positive"),
        ([-0.1, 0.5], [1.0, 0.1], "positive"),
    ],
)
def test_no_mtf(tmp_path, frequency, value, words):
    with pytest.raises(InputError, match=words):
        read_mtf(write(tmp_path / "mtf.star", frequency, value), 1.0)


def test_no_table_no_pixel_size(tmp_path):
    path = tmp_path / "other.star"
    starfile.write(pd.DataFrame({"rlnVoltage": [300.0, 200.0]}), path)
    with pytest.raises(InputError, match="no table with"):
        read_mtf(path, 1.0)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="pixel size"):
            read_mtf(path, wrong)
