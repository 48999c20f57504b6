"""Parts, distances and chains against SciPy, to the last bit, with and without its compiled modules."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage, sparse

from pycryo import neighbours


def changed():
    """A function that takes no arguments."""


@pytest.fixture(params=["compiled", "packages", "changed"])
def way(request, monkeypatch):
    if request.param == "packages":
        monkeypatch.setattr(neighbours, "load_compiled", lambda name: None)
    elif request.param == "changed":
        module = SimpleNamespace(_label=changed, euclidean_feature_transform=changed, cKDTree=changed)
        monkeypatch.setattr(neighbours, "load_compiled", lambda name: module)
    else:
        for name in ("scipy.ndimage._ni_label", "scipy.ndimage._nd_image", "scipy.spatial._ckdtree"):
            assert neighbours.load_compiled(name) is not None


@pytest.mark.parametrize("shape", [(9, 7, 8), (1, 5, 3), (0, 4, 4)])
@pytest.mark.usefixtures("way")
def test_parts(shape, rng):
    inside = rng.random(shape) < 0.4
    label, n_part = neighbours.label_parts(inside)
    expected, n_expected = ndimage.label(inside)
    np.testing.assert_array_equal(label, expected)
    assert (n_part, label.dtype) == (n_expected, np.int32)


@pytest.mark.usefixtures("way")
def test_distances(rng):
    inside = rng.random((9, 12, 10)) < 0.02
    for each in (inside, inside.T, inside[::2, 1:]):
        np.testing.assert_array_equal(neighbours.distances(each), ndimage.distance_transform_edt(~each))


@pytest.mark.usefixtures("way")
def test_tree(rng):
    points, others = rng.standard_normal((50, 4)), rng.standard_normal((20, 4))
    away, found = neighbours.point_tree(points).query(others)
    expected = np.linalg.norm(others[:, None] - points, axis=2)
    np.testing.assert_array_equal(found, expected.argmin(axis=1))
    np.testing.assert_allclose(away, expected.min(axis=1), rtol=1e-12)


@pytest.mark.parametrize("n_pair", [0, 3, 40, 100])
def test_chains(n_pair, rng):
    n = 80
    pairs = rng.integers(0, n, (n_pair, 2))
    links = sparse.coo_array((np.ones(n_pair), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, part = sparse.csgraph.connected_components(links, directed=False)
    _, first, which = np.unique(part, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(neighbours.linked(n, pairs), first[which])


def test_a_long_chain_in_any_order(rng):
    n = 10_000
    numbers = rng.permutation(n)
    pairs = np.stack([numbers[:-1], numbers[1:]], axis=1)
    assert (neighbours.linked(n, pairs) == 0).all()
    assert (neighbours.linked(n, np.empty((0, 2), np.int64)) == np.arange(n)).all()


def test_the_packages_are_not_imported_and_can_be_later():
    code = (
        "import sys, numpy as np; from pycryo import neighbours; x = np.eye(3, dtype=bool)[None]; "
        "a = neighbours.distances(x); n = neighbours.label_parts(x)[1]; "
        "b = neighbours.point_tree(a[0]).query(a[0])[1]; "
        "assert not {'scipy.ndimage', 'scipy.spatial'} & {*sys.modules}; "
        "from scipy import ndimage, spatial; assert ndimage.label(x)[1] == n; "
        "assert (ndimage.distance_transform_edt(~x) == a).all(); "
        "assert (spatial.KDTree(a[0]).query(a[0])[1] == b).all()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
