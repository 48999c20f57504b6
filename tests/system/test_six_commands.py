"""The road of docs/quick_start.md from a .cs file to the EMDB's files, on the demo's particles, line by line."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import pycryo
from pycryo.cli.main import main
from pycryo.io.example_data import betagal

PAGE = Path(__file__).parents[2] / "docs" / "quick_start.md"
TITLE = "## From cryoSPARC to the EMDB in six commands"


def commands():
    """Arguments of each line."""
    text = PAGE.read_text(encoding="utf-8").partition(TITLE)[2]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block[1].splitlines()]
    return [words[words.index("pycryo") + 1 :] for words in lines]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A job's two .cs files, as cryoSPARC writes them, their stack, and a reference."""
    job = tmp_path / "J12"
    job.mkdir()
    for name in ("particles.star", "particles.mrcs"):
        shutil.copy(betagal() / name, job / name)
    shutil.copy(betagal() / "reference_40A.mrc", tmp_path / "ref.mrc")
    assert main(["export", str(job / "particles.star"), "--cs", str(job / "whole.cs")]) == 0
    whole = np.load(job / "whole.cs", allow_pickle=False)
    images = [name for name in whole.dtype.names if name == "uid" or name.startswith("blob/")]
    others = [name for name in whole.dtype.names if not name.startswith("blob/")]
    for file, fields in (("particles.cs", images), ("passthrough.cs", others)):
        with open(job / file, "wb") as out:
            np.save(out, whole[fields].astype([(name, whole.dtype[name]) for name in fields]))
    (job / "particles.star").unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_six_commands(folder):
    lines = commands()
    assert [line[0] for line in lines] == ["import", "check", "refine", "localres", "report", "deposit"]
    for line in lines:
        # Two iterations and the final one: how far a refinement comes is the subject of other tests.
        assert main([*line, *(["--max-iter", "2"] if line[0] == "refine" else [])]) == 0
    deposit = folder / "deposit"
    told = json.loads((deposit / "checklist.json").read_text("utf-8"))
    assert told
    primary = pycryo.read_map(deposit / "primary_map.mrc")
    halves = [pycryo.read_map(deposit / f"half_map_{i}.mrc") for i in (1, 2)]
    curve = pycryo.fsc(*halves)
    assert curve[10] > 0.5  # 33 Å
    assert pycryo.fsc(primary, halves[0])[10] > 0.7
    page = (folder / "run" / "report.html").read_text("utf-8")
    assert "Local resolution" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
