"""Central sections: which is which, where they lie, and what of a local resolution is known."""

import numpy as np
import pytest

from pycryo.errors import InputError
from pycryo.maps.density import Map, soft_sphere
from pycryo.report import map_figures


def test_sections_lie_as_their_labels_say():
    data = np.zeros((9, 9, 9), np.float32)
    data[4, 4, 7], data[4, 6, 4], data[8, 4, 4] = 1, 2, 3  # on the axes x, y and z
    figure = map_figures.slices_figure({"map": Map(data, 2.0), "half-map 1": Map(2 * data, 2.0)}, 30.0)
    assert len(figure.axes) == 6
    places = {"x": 3 * 2.0, "y": 2 * 2.0, "z": 4 * 2.0}
    value = {"x": 1, "y": 2, "z": 3}
    for number, axes in enumerate(figure.axes):
        image = axes.images[0]
        low, high, *_ = image.get_extent()
        centres = low + (np.arange(9) + 0.5) * (high - low) / 9
        shown = np.asarray(image.get_array()) / (1 + number // 3)
        right, up = axes.get_xlabel()[0], axes.get_ylabel()[0]
        for name, axis in ((right, 1), (up, 0)):
            place = np.argwhere(shown == value[name])[0]
            np.testing.assert_allclose(centres[place[axis]], places[name], atol=1e-9)
            np.testing.assert_allclose(centres[place[1 - axis]], 0, atol=1e-9)
        assert axes.get_title() == f"{'half-map 1' if number > 2 else 'map'}, across {({*'xyz'} - {right, up}).pop()}"


def test_the_mask_is_drawn_where_it_fits():
    volume, mask = Map(soft_sphere(16, 4, 2), 2.0), Map(soft_sphere(16, 5, 2), 2.0)
    for given, n in ((mask, 1), (Map(soft_sphere(20, 5, 2), 2.0), 0), (None, 0)):
        figure = map_figures.slices_figure({"map": volume}, 24.0, given)
        assert [len(axes.collections) for axes in figure.axes] == [n] * 3


def test_local_resolution_is_known_within_the_mask():
    mask = Map(soft_sphere(16, 5, 0), 2.0)
    data = np.full((16, 16, 16), 4.0, np.float32)
    data[:, :, :8] = 6
    data[8, 8, 8], data[8, 8, 9] = np.nan, 0
    found = Map(data, 2.0)
    known = map_figures.resolved(found, mask)
    assert known.sum() == (mask.data > 0.5).sum() - 2
    assert map_figures.resolved(found, None).sum() == 16**3 - 2
    figure = map_figures.local_resolution_figure(found, Map(soft_sphere(16, 4, 2), 2.0), 24.0, mask)
    for axes in figure.axes[:3]:
        grey, colour = axes.images
        assert colour.get_clim() == (4.0, 6.0)
        shown = np.ma.masked_invalid(colour.get_array())
        assert set(shown.compressed()) <= {4.0, 6.0}
        assert not np.ma.masked_invalid(grey.get_array()).mask.any()


def test_a_local_resolution_that_cannot_be_shown():
    volume = Map(soft_sphere(16, 4, 2), 2.0)
    with pytest.raises(InputError, match="20 voxels"):
        map_figures.local_resolution_figure(Map(soft_sphere(20, 4, 2), 2.0), volume, 24.0, None)
    with pytest.raises(InputError, match="no values"):
        map_figures.local_resolution_figure(Map(-soft_sphere(16, 4, 2), 2.0), volume, 24.0, None)
