"""`pycryo localres`: what it refuses, and the files of a run's folder."""

import json

import numpy as np
import pytest

from pycryo.cli.main import main
from pycryo.io.mrc import write_map
from pycryo.maps.density import soft_sphere
from pycryo.postprocessing.chimerax import PALETTE, colour_by_resolution

BOX, PIXEL = 32, 4.0


@pytest.fixture
def run(tmp_path):
    """The folder of a finished refinement."""
    folder = tmp_path / "run"
    folder.mkdir()
    rng = np.random.default_rng(1)
    ball = soft_sphere(BOX, 8, 3)
    signal = ball * rng.standard_normal(ball.shape, dtype=np.float32)
    for half in (1, 2):
        noisy = signal + np.float32(0.3) * rng.standard_normal(ball.shape, dtype=np.float32)
        write_map(folder / f"run_half{half}_class001_unfil.mrc", noisy, PIXEL)
    write_map(folder / "run_mask.mrc", ball, PIXEL)
    (folder / "run.json").write_text(json.dumps({"status": "done", "box": BOX, "pixel_size": PIXEL}))
    return folder


def test_run(run, capsys):
    """The mask is the run's; results are in a folder of it."""
    assert main(["localres", str(run), "--b-factor", "-50", "--threads", "1"]) == 0
    told = json.loads((run / "localres" / "localres.json").read_text())
    assert told["mask"] == str(run / "run_mask.mrc")
    assert told["b_factor"] == -50
    assert "local resolution" in capsys.readouterr().err
    text = (run / "localres" / "localres.cxc").read_text()
    assert f"level {told['surface_level']:.6g}" in text
    assert (run / "localres" / "run.log").read_text().count("local resolution") == 1


def test_further_classes_have_folders_of_their_own(run):
    """The report shows what is in the first one's as that of the first class."""
    for name in ("run_half1_class001_unfil", "run_half2_class001_unfil", "run_mask"):
        other = f"{name}_class002" if name == "run_mask" else name.replace("001", "002")
        (run / f"{other}.mrc").write_bytes((run / f"{name}.mrc").read_bytes())
    told = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(told | {"classes": 2}))
    assert main(["localres", str(run), "--class", "2", "--threads", "1"]) == 0
    assert (run / "localres_class002" / "localres.mrc").is_file()
    assert not (run / "localres").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["{half1}"], "is one half-map"),
        (["{half1}", "{half2}"], "--out DIR"),
        (["{half1}", "{half2}", "{half1}", "--out", "{out}"], "give two half-maps"),
        (["{run}", "--class", "2"], "--class goes from 1 to 1"),
        (["{run}", "--pixel-size", "2"], "a run tells its own"),
        (["{run}", "--out", "{run}"], "is the run itself"),
        (["{half1}", "{half2}", "--out", "{out}", "--class", "2"], "--class is of a run"),
        (["{out}"], "no run.json"),
        (["{run}", "--b-factor", "1e9"], "the B-factor must be"),
        (["{run}", "--threshold", "1.5"], "--threshold must be"),
        (["{run}", "--window", "500"], "at most half the box"),
        (["{run}", "--threads", "0"], "--threads must be"),
    ],
)
def test_refused(run, tmp_path, capsys, words, message):
    names = {f"half{n}": run / f"run_half{n}_class001_unfil.mrc" for n in (1, 2)}
    assert main(["localres", *(word.format(run=run, out=tmp_path / "out", **names) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (run / "localres").exists()


def test_commands_for_chimerax():
    text = colour_by_resolution("map.mrc", "localres.mrc", 0.0125, 3.0, 5.5)
    # The models get their numbers by their order, after `close`.
    assert text.index("close\n") < text.index('open "map.mrc"') < text.index('open "localres.mrc"')
    assert "level 0.0125" in text
    palette = text.split("palette ")[1].split("\n")[0].split(":")
    assert [pair.split(",")[0] for pair in palette] == ["3.000", "3.500", "4.000", "4.500", "5.000", "5.500"]
    assert [pair.split(",")[1] for pair in palette] == list(PALETTE)
    assert f"{PALETTE[0]}:3.00" in text
    assert "nan" not in colour_by_resolution("a", "b", 1.0, 3.0, 3.0)
