"""``pycryo reconstruct``: files written, options, wrong use."""

import importlib
import shutil

import mrcfile
import numpy as np
import pytest
from phantom import blobs, write_set

from pycryo.cli import ranks
from pycryo.cli.main import main
from pycryo.io.particles import read_particles
from pycryo.maps.fsc import fsc
from pycryo.refinement.reconstruct import reconstruct


@pytest.fixture
def folder(tmp_path):
    write_set(tmp_path, blobs(), 60)
    return tmp_path


def run(folder, *words):
    """Exit code of ``pycryo reconstruct`` with file names in `folder`."""
    return main(["reconstruct", *(str(folder / word) if word.endswith((".mrc", ".star")) else word for word in words)])


def read(path):
    with mrcfile.open(path) as file:
        assert file.voxel_size.x == pytest.approx(3.0)
        assert file.is_volume()
        return file.data.copy()


def test_map_is_that_of_the_function(folder):
    assert run(folder, "particles.star", "--out", "map.mrc") == 0
    np.testing.assert_array_equal(
        read(folder / "map.mrc"), reconstruct(read_particles(folder / "particles.star")).map.data
    )
    assert sorted(path.name for path in folder.glob("*.mrc")) == ["map.mrc"]


def test_half_maps(folder, caplog):
    caplog.set_level("INFO")
    assert run(folder, "particles.star", "--o", "map.mrc", "--half-maps") == 0
    assert sorted(path.name for path in folder.glob("*.mrc")) == ["map.mrc", "map_half1.mrc", "map_half2.mrc"]
    curve = fsc(read(folder / "map_half1.mrc"), read(folder / "map_half2.mrc"))
    assert curve[1:6].min() > 0.9
    assert "Å at FSC 0.143" in caplog.text


def test_options_reach_the_function(folder):
    options = ("--sym", "C2", "--no-ctf", "--pad", "1", "--max-res", "9", "--background-radius", "40", "--threads", "1")
    try:
        assert run(folder, "particles.star", "--out", "map.mrc", *options) == 0
    finally:
        ranks.set_threads(None)
    expected = reconstruct(
        read_particles(folder / "particles.star"),
        symmetry="C2",
        ctf=False,
        padding=1,
        max_resolution=9.0,
        background_radius=40.0,
    )
    np.testing.assert_array_equal(read(folder / "map.mrc"), expected.map.data)


def test_particles_dir(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(folder / "particles.star", elsewhere)
    assert run(elsewhere, "particles.star", "--out", "map.mrc", "--particles-dir", str(folder)) == 0
    assert run(elsewhere, "particles.star", "--out", "no.mrc") == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (("none.star",), "none.star"),
        (("particles.star", "--sym", "Q"), "symmetry 'Q' is unknown"),
        (("particles.star", "--pad", "0"), "padding is 0"),
        (("particles.star", "--threads", "0"), "--threads must be at least 1"),
        (("particles.star", "--seed", "-2"), "--seed must be 0 or more"),
        (("particles.star", "--max-res", "0"), "the highest resolution"),
        (("nopose.star",), "needs particles with poses"),
        (("beyond.star",), "beyond.star"),
        (("empty.star",), "no particles"),
    ],
)
def test_wrong_use(folder, words, message, capsys):
    (folder / "nopose.star").write_text("data_particles\nloop_\n_rlnImageName #1\n1@g1.mrcs\n")
    (folder / "beyond.star").write_text("data_particles\nloop_\n_rlnImageName #1\n61@g1.mrcs\n")
    (folder / "empty.star").write_text("data_particles\nloop_\n_rlnImageName #1\n\n")
    before = sorted(folder.iterdir())
    assert run(folder, *words, "--out", "map.mrc") == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", ["missing/map.mrc", "taken.mrc"])
def test_output_is_checked_before_the_work(folder, name, capsys, monkeypatch):
    module = importlib.import_module("pycryo.refinement.reconstruct")
    monkeypatch.setattr(module, "reconstruct", lambda *_, **__: pytest.fail("worked in vain"))
    (folder / "taken.mrc").mkdir()
    assert run(folder, "particles.star", "--out", name) == 2
    assert "cannot write" in capsys.readouterr().err


def test_dark_particles(folder, caplog):
    """The option gives the map of light ones to the last bit; without it the map is said to be dark."""
    assert run(folder, "particles.star", "--out", "map.mrc") == 0
    assert "dark" not in caplog.text
    for path in folder.glob("*.mrcs"):
        with mrcfile.open(path, "r+") as file:
            file.set_data(-file.data)
    assert run(folder, "particles.star", "--out", "dark.mrc") == 0
    assert "the map is dark on light: if the particles are, run again with --invert-contrast" in caplog.text
    caplog.clear()
    assert run(folder, "particles.star", "--out", "inverted.mrc", "--invert-contrast") == 0
    assert "dark" not in caplog.text
    np.testing.assert_array_equal(read(folder / "inverted.mrc"), read(folder / "map.mrc"))
    np.testing.assert_array_equal(read(folder / "dark.mrc"), -read(folder / "map.mrc"))


def test_scratch(folder, capsys):
    assert run(folder, "particles.star", "--out", "map.mrc") == 0
    assert run(folder, "particles.star", "--out", "again.mrc", "--scratch", str(folder / "fast")) == 0
    np.testing.assert_array_equal(read(folder / "again.mrc"), read(folder / "map.mrc"))
    assert not list((folder / "fast").iterdir())


def test_all_errors_at_once(folder, capsys):
    text = (folder / "particles.star").read_text()
    assert text.count("\t300.0") == 1
    (folder / "bad.star").write_text(text.replace("\t300.0", "\t300000.0"))
    next(folder.glob("*.mrcs")).unlink()
    assert run(folder, "bad.star", "--out", "map.mrc", "--max-res", "9999") == 2
    printed = capsys.readouterr().err
    assert "3 errors in the input" in printed
    assert "in V, kV are meant" in printed
    assert "there is no file" in printed
    assert "--max-resolution is 9999 Å" in printed
