"""Central sections: which is which, where they lie, and where the mask is drawn."""

import numpy as np

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
