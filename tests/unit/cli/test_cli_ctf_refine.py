"""``pycryo ctf-refine``: from half-maps and particles to an optics table, figures and numbers; its errors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scene import lump

from pycryo.cli.commands import ctf_refine
from pycryo.cli.main import main
from pycryo.io.mrc import read_map, write_map
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.star import read_star

BOX, PIXEL = 40, 1.8
IGNORED = "beam-tilt,odd-zernike"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Simulated particles with beam tilt and trefoil, and half-maps made without regard to it."""
    path = tmp_path_factory.mktemp("ctf")
    phantom = replace(lump(n=50, extent=22.0), widths=np.full(50, 1.6))
    write_map(path / "model.mrc", phantom.volume(BOX, PIXEL).astype(np.float32), PIXEL)
    optics = ["--beam-tilt=2.5,-1.5", "--odd-zernike=0,0,60,0,0,40"]
    limits = ["--n", "300", "--snr", "1", "--shift-sd", "1", "--defocus-min", "5000", "--defocus-max", "9000"]
    assert main(["simulate", str(path / "model.mrc"), "--out", str(path / "set"), *limits, *optics]) == 0
    star = str(path / "set" / "truth.star")
    assert main(["reconstruct", star, "--out", str(path / "map.mrc"), "--half-maps", "--ignore-optics", IGNORED]) == 0
    return path


def command(folder, out, *more):
    halves = [str(folder / f"map_half{number}.mrc") for number in (1, 2)]
    star = str(folder / "set" / "truth.star")
    return main(["ctf-refine", star, "--half-maps", *halves, "--out", str(out), "--ignore-optics", IGNORED, *more])


def test_optics_are_written(folder, tmp_path):
    assert command(folder, tmp_path / "out") == 0
    found = read_particles(tmp_path / "out" / "particles_ctf_refine.star")
    np.testing.assert_allclose(found.optics.beam_tilt[0], [2.5, -1.5], atol=0.3)
    np.testing.assert_allclose(np.array(found.optics.odd_zernike[0])[[2, 5]], [60, 40], atol=12)
    told = json.loads((tmp_path / "out" / "optics.json").read_text())
    (group,) = told["groups"]
    assert group["particles"] == 300
    assert "added" in group["found"]["beam tilt"]
    assert "not_significant" in group["found"]["fourth order"]
    assert (
        group["optics"]["rlnBeamTiltX"]
        == read_star(tmp_path / "out" / "particles_ctf_refine.star")["optics"]["rlnBeamTiltX"][0]
    )
    assert (tmp_path / "out" / "phases_opticsGroup1.png").stat().st_size > 10_000


def test_what_was_found_is_bettered(folder, tmp_path, caplog):
    """The second time it is no more than chance, but counts; what the first one did not claim is still not claimed."""
    assert command(folder, tmp_path / "one") == 0
    star = str(tmp_path / "one" / "particles_ctf_refine.star")
    halves = [str(folder / f"map_half{number}.mrc") for number in (1, 2)]
    with caplog.at_level("INFO"):
        assert main(["ctf-refine", star, "--half-maps", *halves, "--out", str(tmp_path / "two")]) == 0
    (group,) = json.loads((tmp_path / "two" / "optics.json").read_text())["groups"]
    assert "added" in group["found"]["beam tilt"]
    assert group["found"]["beam tilt"]["chi_square"] < 10
    assert "not_significant" in group["found"]["fourth order"]
    assert "no more than chance, betters what was stated" in caplog.text


def test_all_that_was_changed_is_written(folder):
    before = read_particles(folder / "set" / "truth.star")
    after = replace(before, phase_shift=before.phase_shift + 10, origin_y=before.origin_y - 1)
    updates = ctf_refine._updates(before, after)
    assert set(updates) == {"rlnPhaseShift", "rlnOriginYAngst"}
    np.testing.assert_array_equal(updates["rlnPhaseShift"], after.phase_shift)


def test_what_is_found_makes_a_better_map(folder, tmp_path):
    """The columns, origins and defoci of the file belong together."""
    assert command(folder, tmp_path / "out") == 0
    star = str(tmp_path / "out" / "particles_ctf_refine.star")
    assert main(["reconstruct", star, "--out", str(tmp_path / "found.mrc")]) == 0
    assert main(["reconstruct", str(folder / "set" / "truth.star"), "--out", str(tmp_path / "stated.mrc")]) == 0
    truth = read_map(folder / "set" / "map.mrc").data
    paths = (folder / "map.mrc", tmp_path / "found.mrc", tmp_path / "stated.mrc")
    ignored, found, stated = (np.corrcoef(read_map(path).data.ravel(), truth.ravel())[0, 1] for path in paths)
    assert stated - ignored > 0.02
    assert stated - found < 0.1 * (stated - ignored)


def test_a_folder_of_a_refinement_tells_the_rest(folder, tmp_path, caplog):
    run = tmp_path / "run"
    run.mkdir()
    text = (folder / "set" / "truth.star").read_text().replace("@particles.mrcs", f"@{folder / 'set'}/particles.mrcs")
    (run / "run_data.star").write_text(text)
    for number in (1, 2):
        data = (folder / f"map_half{number}.mrc").read_bytes()
        (run / f"run_half{number}_class001_unfil.mrc").write_bytes(data)
    (run / "run.json").write_text(json.dumps({"diameter": 60.0, "symmetry": "C1", "options": {}, "status": "done"}))
    assert (
        main(["ctf-refine", str(run), "--out", str(tmp_path / "o"), "--find", "tilt", "--ignore-optics", IGNORED]) == 0
    )
    found = read_particles(tmp_path / "o" / "particles_ctf_refine.star")
    np.testing.assert_allclose(found.optics.beam_tilt[0], [2.5, -1.5], atol=0.3)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--find", "tilt,focus"], "--find does not know focus; it takes tilt, fourth-order"),
        (["--find", ","], "--find is empty"),
        (["--ignore-optics", "tilt"], "does not know tilt"),
        (["--mask", "nowhere.mrc"], "nowhere.mrc"),
        (["--padding", "0"], "--padding must be positive"),
        (["--resolution", "4"], "--resolution is for --map"),
        (["--invert-contrast"], "do not agree with the map at the poses"),
    ],
)
def test_errors_say_what_to_do(folder, tmp_path, capsys, more, words):
    assert command(folder, tmp_path / "out", *more) == 2
    assert words in capsys.readouterr().err


def test_what_is_missing_is_named(folder, tmp_path, capsys):
    star = str(folder / "set" / "truth.star")
    blind = str(folder / "set" / "particles.star")
    halves = [str(folder / f"map_half{number}.mrc") for number in (1, 2)]
    out = ["--out", str(tmp_path / "out")]
    for arguments, words in (
        ([star], "give --half-maps"),
        ([star, "--map", halves[0]], "--map needs --resolution"),
        ([str(tmp_path)], "has no run.json: give the folder of a finished"),
        ([blind, "--half-maps", *halves], "give the particles of a refinement, such as run_data.star"),
    ):
        assert main(["ctf-refine", *arguments, *out]) == 2
        assert words in capsys.readouterr().err


def test_the_file_must_tell_the_halves(folder, tmp_path, capsys):
    """An image that is compared with its own noise shows what is not there."""
    particles = read_particles(folder / "set" / "truth.star")
    write_particles(tmp_path / "p.star", particles, {"rlnRandomSubset": np.ones(len(particles), int)})
    halves = [str(folder / f"map_half{number}.mrc") for number in (1, 2)]
    arguments = ["ctf-refine", str(tmp_path / "p.star"), "--half-maps", *halves, "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "rlnRandomSubset" in capsys.readouterr().err
    same = ["ctf-refine", str(folder / "set" / "truth.star"), "--half-maps", halves[0], halves[0]]
    assert main([*same, "--out", str(tmp_path / "out")]) == 2
    assert "are the same" in capsys.readouterr().err


def test_folders_that_are_no_finished_run(folder, tmp_path, capsys):
    (tmp_path / "run_data.star").write_text((folder / "set" / "truth.star").read_text())
    for text, words in (
        ("{", "is not JSON"),
        (json.dumps({"status": "running"}), "has not ended"),
        (json.dumps({"status": "done", "classes": 2}), "has 2 classes"),
    ):
        (tmp_path / "run.json").write_text(text)
        assert main(["ctf-refine", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err


def test_ignored_columns_are_written_anew(folder, tmp_path):
    """They were looked for from nothing, so their old values must not stay beside what was found."""
    assert command(folder, tmp_path / "out", "--find", "magnification") == 0
    found = read_particles(tmp_path / "out" / "particles_ctf_refine.star").optics
    assert not found.has_odd.any()
