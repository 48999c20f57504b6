"""The paper's set: parts of a run, what they are projected to, and the made-up molecule."""

import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

FOLDER = Path(__file__).resolve().parents[3] / "bench" / "refinement"


@pytest.fixture
def load(monkeypatch):
    """Function: name of a script in bench/refinement -> its module."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def one(name):
        spec = spec_from_file_location(name, FOLDER / f"{name}.py")
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look there
        spec.loader.exec_module(module)
        return module

    return one


def test_parts_add_up_and_are_projected(load):
    module = load("paper_set")
    seconds = {"scan": 3.0, "solve": 2.0, "total": 6.0}
    parts = module.parts_of([{"seconds": seconds}, {"seconds": seconds}], 20.0)
    assert parts == {"scan": 6.0, "solve": 4.0, "rest of the iterations": 2.0, "start and end": 8.0}
    small = module.Run(100, {name: value / 2 for name, value in parts.items()}, 30.0, "gf", 5.0)
    large = module.Run(200, parts, 50.0, "gf", 4.0)
    # Ten times the images on five times the ranks; the rest and the ends are proportional in these runs.
    found = module.projected(small, large, 2000, 5 * module.RANKS)
    assert found == {"scan": 12.0, "solve": 4.0, "rest of the iterations": 4.0, "start and end": 16.0}
    # What is the same in both runs stays.
    still = replace(small, parts={**small.parts, "start and end": 8.0})
    assert module.projected(still, large, 2000, module.RANKS)["start and end"] == 8.0
    # In half the iterations; start and end stay.
    assert module.per_iteration(large, 1).parts == {**parts, "scan": 3.0, "solve": 2.0, module.REST: 1.0}
    assert module.predicted(small, large) == {"scan": 6.0, "solve": 2.0}
    text = module.table(small, large, (24,))
    assert "| part | 100 images | predicted | 200 images | 211 826 images, 2 ranks |" in text
    assert "| solve (by maps) | 2.0 s | 2.0 s | 4.0 s | 4.0 s | 4.0 s |" in text
    assert "| scan (by images) | 3.0 s | 6.0 s | 6.0 s | 1.8 h | 529.6 s |" in text
    assert "| start and end (both) | 4.0 s |  | 8.0 s |" in text
    # 6 + 4 s where 6 + 2 were predicted.
    assert "took 1.25 of what 100 images predict for 200 in as many iterations." in text


def test_clock(load):
    module = load("paper_set")
    assert [module.clock(each) for each in (12.34, 900.0, 7200.0)] == ["12.3 s", "15 min", "2.0 h"]


@pytest.mark.parametrize("fold", [1, 4])
def test_a_molecule_is_made(load, tmp_path, fold):
    module = load("made_molecule")
    places = module.atoms(40.0, fold, 0)
    assert np.linalg.norm(places, axis=1).max() <= 40.0
    assert len(places) % fold == 0
    np.testing.assert_array_equal(places, module.atoms(40.0, fold, 0))
    unit = places[: len(places) // fold]
    assert cKDTree(unit).query_pairs(module.APART) == set()
    volume = 4 / 3 * np.pi * 40.0**3
    assert 0.05 * volume / 17 < len(places) < volume / 17
    if fold > 1:
        turned = np.stack([-unit[:, 1], unit[:, 0], unit[:, 2]], axis=1)
        np.testing.assert_allclose(places[len(unit) : 2 * len(unit)], turned, atol=1e-9)
    module.write_pdb(tmp_path / "a.pdb", places)
    lines = (tmp_path / "a.pdb").read_text().splitlines()
    assert len({line[21:26] for line in lines[:-1]}) == len(places)
    np.testing.assert_allclose([float(line[30:38]) for line in lines[:-1]], places[:, 0], atol=6e-4)
