"""The picture of a surface: of a ball and of a box whose outlines and lit sides are known."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from pycryo.errors import InputError
from pycryo.report.isosurface import isosurface, png_of

BOX = 40


def radius(centre=(20, 20, 20)):
    grid = np.indices((BOX, BOX, BOX)) - np.reshape(centre, (3, 1, 1, 1))
    return np.sqrt(np.square(grid).sum(0))


def test_ball_has_the_outline_of_a_disc():
    image = isosurface((20 - radius()).astype(np.float32), 10.0, 200)
    shown = (image != 255).any(-1)
    y, x = np.nonzero(shown)
    # The picture's half width is 1.08 · (reach of the voxels + 1), which is 10 to 11.5 voxels for a ball of 10.
    scale = 2 * 1.08 / 200
    for values in (x, y):
        assert 9.5 / 11.5 / scale < np.ptp(values) / 2 + 0.5 < 10.5 / 10.5 / scale
        assert (values.min() + values.max()) / 2 == pytest.approx(99.5, abs=1.5)
    assert shown.sum() == pytest.approx(np.pi / 4 * np.ptp(x) * np.ptp(y), rel=0.03)


def test_the_lamp_is_above_and_to_the_left():
    image = isosurface((20 - radius()).astype(np.float32), 10.0, 100).astype(float).sum(-1)
    assert image[30, 35] > image[70, 65] + 100


def test_what_is_nearer_hides_what_is_behind():
    """A ball before a larger one: the middle of the picture is the small one's, whose depth is another."""
    back = isosurface((12 - radius((12, 20, 20))).astype(np.float32), 2.0, 120)
    both = np.maximum(12 - radius((12, 20, 20)), 7 - radius((30, 20, 20)))
    assert (isosurface(both.astype(np.float32), 2.0, 120) != back).any()


def test_nothing_above_the_level():
    with pytest.raises(InputError, match="contour level"):
        isosurface(np.zeros((8, 8, 8), np.float32), 1.0)


def test_png_is_read_by_others():
    image = isosurface((20 - radius()).astype(np.float32), 10.0, 50)
    read = imread(io.BytesIO(png_of(image)), format="png")
    assert read.shape == (50, 50, 4)
    np.testing.assert_allclose(read[..., :3], image / 255, atol=1e-6)
