"""A few images that are no images of particles change nothing of a result, and are named with the reason."""

import json
import logging
import re

import mrcfile
import numpy as np
import pytest
import starfile
from phantom import write_set
from scene import lump

from pycryo.cli.main import main
from pycryo.io.mrc import read_map, write_map
from pycryo.io.particles import read_particles
from pycryo.maps.density import Map, low_pass
from pycryo.refinement.start import contest
from pycryo.refinement.start.abinitio import abinitio
from pycryo.refinement.start.abinitio_options import AbinitioOptions

N, BOX, PIXEL, NOISE = 90, 32, 3.5, 60.0
HOSTILE = ("bright", "faint", "stripe", "bead", "nan", "zero", "hot", "ramp")
REASONS = ["odd_level"] * 4 + ["not_finite", "constant"]  # the last two are mended


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """N images and those of `HOSTILE` after them; clean.star names the first and those that can be mended."""
    folder = tmp_path_factory.mktemp("outliers")
    path = write_set(folder, lump(), N + len(HOSTILE), geometries=((BOX, PIXEL),), noise=NOISE)
    with mrcfile.open(folder / "g1.mrcs", "r+") as file:
        bright, faint, stripe, bead, nan, zero, hot, ramp = file.data[N:]
        bright *= 100
        faint /= 1e4
        stripe[:, 9] = 1000 * NOISE
        bead[:9, -9:] += 60 * NOISE
        nan[3, 4] = np.nan
        zero[:] = 0
        hot[16, 17] = -1e5 * NOISE
        ramp += (100 / BOX * NOISE * np.arange(BOX)).astype(np.float32)
    tables = starfile.read(path)
    tables["particles"]["rlnRandomSubset"] = np.arange(N + len(HOSTILE)) % 2 + 1
    starfile.write(tables, path, overwrite=True)
    tables["particles"] = tables["particles"].drop(index=range(N, N + len(REASONS)))
    starfile.write(tables, folder / "clean.star", overwrite=True)
    truth = Map(lump().volume(BOX, PIXEL).astype(np.float32), PIXEL)
    low = low_pass(truth, 30.0)
    write_map(folder / "ref.mrc", low.data, PIXEL)
    return folder


def check_rejected(path):
    table = starfile.read(path)["particles"]
    names = [re.sub("@.*/", "@", name) for name in table["rlnImageName"]]
    assert names == [f"{N + 1 + i:06d}@g1.mrcs" for i in range(len(REASONS))]
    assert table["pycryoReason"].tolist() == REASONS
    assert len(read_particles(path)) == len(REASONS)


def test_reconstruct(spoiled, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    maps = []
    for name in ("particles", "clean"):
        out = tmp_path / f"{name}.mrc"
        words = ["reconstruct", spoiled / f"{name}.star", "--out", out, "--max-bad-fraction", 0.1, "--threads", 1]
        assert main([str(word) for word in words]) == 0
        maps.append(read_map(out).data)
    # Only the quanta of exact sums differ.
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5 * np.abs(maps[1]).max())
    check_rejected(tmp_path / "particles_rejected.star")
    assert not (tmp_path / "clean_rejected.star").exists()
    assert "images mended: 1 with hot or dead pixels, 1 with a ramp" in caplog.text
    assert "left out 6 images: " in caplog.text
    assert "4 with pixels far stronger or weaker" in caplog.text


def test_refine(spoiled, tmp_path):
    out = tmp_path / "run"
    words = ["refine", spoiled / "particles.star", "--ref", spoiled / "ref.mrc", "--out", out, "--max-iter", 1]
    words += ["--max-bad-fraction", 0.1, "--threads", 1, "--quiet"]
    assert main([str(word) for word in words]) == 0
    check_rejected(out / "run_rejected.star")
    particles = json.loads((out / "run.json").read_text())["particles"]
    assert particles["left_out_reasons"] == {"constant": 1, "not_finite": 1, "odd_level": 4}
    assert particles["mended"] == {"pixels": 1, "ramp": 1}
    found = starfile.read(out / "run_data.star")["particles"]
    assert len(found) == N + 2
    assert found["rlnNormCorrection"].between(0.8, 1.25).all()  # the bright ones change nothing of it
    page = (out / "report.html").read_text()
    assert "4 with pixels far stronger or weaker than those of other images" in page
    assert "Mended: 1 with hot or dead pixels, 1 with a ramp." in page


def test_abinitio(spoiled, monkeypatch):
    monkeypatch.setattr(contest, "_LEGS", (2, 1))
    monkeypatch.setattr(contest, "_SHAPING", 1)
    monkeypatch.setattr(contest, "_FINAL", 1)
    options = AbinitioOptions(tries=1, first_batch=8, last_batch=8, max_bad_fraction=0.1, threads=1)
    found, clean = (abinitio(read_particles(spoiled / f"{name}.star"), options) for name in ("particles", "clean"))
    assert found.left_out.reasons.tolist() == REASONS
    assert found.n_mended == clean.n_mended == {"pixels": 1, "ramp": 1}
    assert found.diameter == pytest.approx(clean.diameter)
    assert len(found.used) == len(clean.used) == N + 2
