"""Objects seen from outside: one line, a small table in notebooks, arrays, pandas and xarray."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
from phantom import blobs

import pycryo


@pytest.fixture(scope="module")
def truth():
    return pycryo.Map(blobs().volume(32, 3.0), 3.0)


@pytest.fixture(scope="module")
def particles(truth):
    return pycryo.simulate(truth, n=60, snr=0.5, seed=3, shift_sd=1.0)


@pytest.fixture(scope="module")
def seen():
    """What an observer gets."""
    return []


@pytest.fixture(scope="module")
def result(particles, truth, seen):
    options = pycryo.RefineOptions(max_iter=1)
    return pycryo.refine(
        particles, pycryo.low_pass(truth, 30), options, observer=lambda *words: seen.append(words) or False
    )


def test_all_results_are_one_line(truth, particles, result, seen):
    halves = result.half_maps
    setup, outcome, (record, *_) = seen[0]
    initial = pycryo.InitialModel(truth, None, 12.0, 90.0, [], np.arange(5), None, {}, None, 1.0)
    for value in (
        truth,
        particles,
        result,
        result.classes[0],
        result.fsc,
        result.poses,
        pycryo.postprocess(*halves, truth.data > 0.1 * truth.data.max()),
        pycryo.reconstruct(particles, half_maps=True),
        pycryo.localres(*halves, truth.data > 0.1 * truth.data.max(), window=40.0, step=20.0),
        initial,
        setup,
        outcome,
        outcome.state,
        record,
        outcome.classes[0],
    ):
        assert "\n" not in repr(value)
        assert len(repr(value)) < 300
        assert repr(value).startswith(type(value).__name__ + "(")


def test_tables_for_notebooks_are_small(truth, particles, result):
    for value, words in (
        (truth, "32 px, 96 Å"),
        (particles, "rlnImageName"),
        (result, "<td>global</td>"),
        (result.fsc, "Å at 0.143"),
    ):
        text = value._repr_html_()
        assert "<table" in text
        assert words in text
        assert len(text) < 6000


def test_particles_in_a_notebook_have_no_folder():
    """So that it looks the same on every machine."""
    particles = pycryo.read_particles(pycryo.betagal() / "particles.star")
    assert str(particles.path) in repr(particles)
    assert "150 of particles.star: 128 px" in particles._repr_html_()
    assert str(particles.path.parent) not in particles._repr_html_()


def test_what_is_shown_is_escaped():
    from pycryo.display import html_columns, html_table

    assert (
        html_table("<a>", {"b&": "<c>"}) == "<p>&lt;a&gt;</p><table><tr><th>b&amp;</th><td>&lt;c&gt;</td></tr></table>"
    )
    assert html_columns("h", ["<"], [[1]]) == "<p>h</p><table><tr><th>&lt;</th></tr><tr><td>1</td></tr></table>"


def test_a_map_is_its_array():
    """The array given, not a copy, where it can be kept; a copy where one is asked for."""
    given = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    whole = pycryo.Map(given, 2)
    assert whole.data is given
    assert np.asarray(whole) is given
    assert np.shares_memory(np.asarray(whole, np.float32), given)
    assert not np.shares_memory(np.array(whole), given)
    assert not np.shares_memory(np.asarray(whole, np.float64), given)
    assert np.asarray(whole, np.float64).dtype == np.float64
    for other in (given.astype(np.float64), given.astype(np.int64), given.T, given.astype(">f4")):
        converted = pycryo.Map(other, 2)
        np.testing.assert_array_equal(converted.data, other)
        assert converted.data.dtype == np.float32
        assert converted.data.flags.c_contiguous
        assert not np.shares_memory(converted.data, other)
    again = pycryo.Map(whole, 3)
    assert again.data is given
    assert (again.pixel_size, np.max(whole), whole.data.mean()) == (3, 7, 3.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole.data = given


def test_a_map_is_as_writeable_as_its_array():
    given = np.zeros((2, 2, 2), np.float32)
    pycryo.Map(given, 1).data[0, 0, 0] = 1
    assert given[0, 0, 0] == 1
    given.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        pycryo.Map(given, 1).data[0, 0, 0] = 2


def test_nothing_writes_into_a_map(truth):
    """Nor refuses one that is read-only."""
    fixed = truth.data.copy()
    fixed.flags.writeable = False
    density = pycryo.Map(fixed, 3.0)
    pycryo.low_pass(density, 20)
    pycryo.resample(density, 16, 6)
    pycryo.mask(density)
    pycryo.fsc(density, density)
    pycryo.corrected_fsc(density, density)
    pycryo.project(density, np.eye(3))
    pycryo.postprocess(density, density, density.data > 0.1)
    pycryo.simulate(density, n=2)
    np.testing.assert_array_equal(fixed, truth.data)


def test_particles_cannot_be_changed(particles):
    with pytest.raises(ValueError, match="read-only"):
        particles.rot[0] = 1
    assert particles.images().flags.writeable  # a copy


def test_xarray(truth, monkeypatch):
    pytest.importorskip("xarray")
    found = truth.to_xarray()
    assert found.dims == ("z", "y", "x")
    assert np.shares_memory(found.data, truth.data)
    for axis in found.dims:
        np.testing.assert_allclose(found[axis], 3.0 * np.arange(-16, 16))
        assert found[axis].attrs["units"] == "Å"
    assert float(found.sel(z=0, y=3.0, x=-6.0)) == truth.data[16, 17, 14]
    assert (found.attrs["pixel_size"], found.name) == (3.0, "density")
    np.testing.assert_array_equal(pycryo.Map(found, found.pixel_size).data, truth.data)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(pycryo.InputError, match=r"to_xarray needs the package xarray: `pip install xarray`"):
        truth.to_xarray()


def test_frames(result, particles):
    curves = result.fsc.frame()
    assert curves.index.name == "shell"
    assert list(curves) == ["frequency", "resolution", "unmasked", "masked", "randomised", "corrected"]
    np.testing.assert_array_equal(curves["corrected"], result.fsc.corrected)
    assert curves["resolution"][4] == pytest.approx(96 / 4)
    figures = result.frame()
    assert list(figures.index) == [each.number for each in result.history]
    assert list(figures["stage"]) == ["global", "final"]
    assert figures["resolution"].iloc[-1] == result.resolution
    table = particles.frame()
    assert isinstance(table, pd.DataFrame)
    np.testing.assert_allclose(table["rlnAngleTilt"].astype(float), particles.tilt, atol=1e-5)
