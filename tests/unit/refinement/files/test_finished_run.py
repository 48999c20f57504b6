"""What commands that go on from a refinement read of its folder."""

import json

import pytest

from pycryo.errors import InputError
from pycryo.refinement.files.finished_run import FinishedRun

TOLD = {
    "status": "done",
    "box": 32,
    "pixel_size": 2.5,
    "diameter": 60.0,
    "symmetry": "C1",
    "inputs": {"particles": "/data/p.star"},
    "options": {"particles_dir": None, "invert_contrast": True},
}


def folder_with(folder, **changes):
    (folder / "run.json").write_text(json.dumps(TOLD | changes))
    return folder


def test_what_a_run_tells(tmp_path):
    run = FinishedRun.read(folder_with(tmp_path), "box", "inputs")
    assert run.told["box"] == 32
    assert run.options["invert_contrast"] is True
    assert run.input_particles == "/data/p.star"
    assert run.mask is None
    for name in ("run_mask.mrc", "run_data.star", "run_half1_class001_unfil.mrc"):
        (tmp_path / name).touch()
    assert run.mask == tmp_path / "run_mask.mrc"
    assert run.particles == tmp_path / "run_data.star"
    with pytest.raises(InputError, match=r"has no run_half2_class001_unfil\.mrc: give the folder"):
        _ = run.half_maps


def test_references(tmp_path):
    odd = tmp_path / "a, b.mrc"
    odd.touch()
    for told, expected in ((None, []), ("/r/a.mrc, /r/b.mrc", ["/r/a.mrc", "/r/b.mrc"]), (str(odd), [str(odd)])):
        inputs = TOLD["inputs"] | {"reference": told}
        assert FinishedRun.read(folder_with(tmp_path, inputs=inputs)).input_references == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "running"}, "has not ended: continue it first"),
        ({"classes": 3}, "has 3 classes"),
        ({"box": None}, "KeyError: 'box'"),
        ({"box": 2.5}, "box is '2.5'"),
        ({"diameter": "x"}, "diameter is 'x'"),
        ({"options": [1]}, "is not as pycryo writes it"),
        ({"options": {"particles_dir": 3}}, "particles_dir is '3'"),
        ({"inputs": {"particles": {}}}, "particles is '{}'"),
    ],
)
def test_what_is_no_finished_run(tmp_path, changes, words):
    with pytest.raises(InputError) as error:
        FinishedRun.read(folder_with(tmp_path, **changes), "box")
    assert words in str(error.value)


def test_no_run_at_all(tmp_path):
    with pytest.raises(InputError, match=r"has no run\.json: give the folder of a finished refinement"):
        FinishedRun.read(tmp_path)
    with pytest.raises(InputError, match="is not as pycryo writes it"):
        _ = FinishedRun.read(folder_with(tmp_path, inputs={})).input_particles


def test_doubt(tmp_path):
    """The sentence of the report, for commands that tell how far the half-maps agree."""
    told = {"status": "done", "resolution": 40.0, "symmetry": "C1", "options": {"ini_high": 40.0}}
    for spread, doubted in ((42.0, True), (2.0, False)):
        run = FinishedRun(tmp_path, told | {"iterations": [{"spread_rotation": spread}]})
        assert bool(run.doubt) is doubted
    assert FinishedRun(tmp_path, told).doubt is None
    assert "beyond 40 Å" in FinishedRun(tmp_path, told | {"iterations": [{"spread_rotation": 42}]}).doubt


def test_particles_in_memory_are_gone(tmp_path):
    run = FinishedRun(tmp_path, {"inputs": {"particles": "particles in memory"}})
    with pytest.raises(InputError, match="particles in memory, which are gone"):
        assert run.input_particles
