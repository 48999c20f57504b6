"""The comparison with RELION: what is judged, and the table; no RELION is needed."""

import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from scene import lump

from pycryo.cli.main import main
from pycryo.io.mrc import read_map, write_map
from pycryo.io.star import write_star

FOLDER = Path(__file__).resolve().parents[3] / "bench" / "refinement"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = spec_from_file_location("against_relion", FOLDER / "against_relion.py")
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "against_relion", module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_true_poses_have_no_errors(script, tmp_path):
    write_map(tmp_path / "model.mrc", lump().volume(32, 3.5).astype(np.float32), 3.5)
    words = ["simulate", tmp_path / "model.mrc", "--out", tmp_path, "--n", 20]
    assert main([str(word) for word in words]) == 0
    run = tmp_path / "some"
    run.mkdir()
    shutil.copy(tmp_path / "truth.star", run / "run_data.star")
    density = read_map(tmp_path / "map.mrc")
    noise = np.random.default_rng(0).standard_normal((2, *density.data.shape)) * density.data.std()
    for half in (1, 2):
        write_map(run / f"run_half{half}_class001_unfil.mrc", (density.data + noise[half - 1]).astype(np.float32), 3.5)
    write_star(run / "run_model.star", {"model_general": {"rlnCurrentResolution": 7.5}})
    for number in (1, 12):
        (run / f"run_it{number:03d}_data.star").touch()
    found = script.judge(tmp_path, "some", "C1")
    assert (found.iterations, found.claimed, found.within_10) == (12, 7.5, 100.0)
    assert found.error < 0.01
    assert found.shift < 0.01
    assert 7.0 <= found.truth < found.halves + 5 < 30


def test_processor_time_of_ranks_is_kept_apart(script, tmp_path):
    """Two ranks by a launcher that gives them Open MPI's variable."""
    launcher = 'for r in 0 1; do OMPI_COMM_WORLD_RANK=$r "$@" || exit 1; done'
    work = [sys.executable, "-c", "import os; sum(range((1 + 9 * int(os.environ['OMPI_COMM_WORLD_RANK'])) * 10**6))"]
    run = script.timed("some", ["sh", "-c", launcher, "sh"], work, tmp_path, leads=True)
    assert 0 < run.lead < run.work
    assert run.wall > 0
    assert run.memory > 1
    with pytest.raises(script.RunError, match="ended with"):
        script.timed("bad", ["sh", "-c", launcher, "sh"], ["false"], tmp_path, leads=False)


def test_table_and_options(script, monkeypatch, capsys):
    runs = [script.Run("pycryo", 10.0, 18.0, 0.0, 100.0), script.Run("relion", 50.0, 90.0, 40.0, 200.0)]
    text = script.table(runs, [script.Found(9, 6.0, 6.5, 7.0, 2.0, 98.0, 0.8)] * 2)
    assert "| relion | 50.0 | 90.0 | 200 MiB | 9 | 6.00 Å | 6.50 Å | 7.00 Å | 2.00° | 98.0 % | 0.80 Å |" in text
    assert "RELION takes 5.0 × the wall time and 5.0 × the CPU time; the 40 s of its leader" in text
    monkeypatch.setattr(script.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit):
        script.main([])
    assert "apt install relion" in capsys.readouterr().err
