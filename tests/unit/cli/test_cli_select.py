"""`pycryo select`: which rows are kept, and that everything else stays as it was."""

import json

import numpy as np
import pytest
import starfile

from pycryo.cli.main import main
from pycryo.io.particles import read_particles
from pycryo.io.star import read_tables

HEAD = (
    '# made by hand\n\n# version 30001\n\ndata_general\n\n_note "two words"\n\n\n'
    "# version 30001\n\ndata_particles\n\nloop_\n"
)
COLUMNS = ("rlnImageName", "rlnParticleFigureOfMerit", "rlnDefocusU", "rlnRandomSubset", "rlnClassNumber", "someText")
ROWS = [
    ("1@a.mrcs", "0.90", "8000.5", "1", "1", "'x y'"),
    ("2@a.mrcs", "-0.25", "9000", "2", "2", "b"),
    ("3@a.mrcs", "0.300000", "1e4", "1", "3", "c"),
    ("4@a.mrcs", "nan", "11000", "2", "1", "d"),
    ("5@a.mrcs", "0.31", "12000", "2", "2", "e"),
]


@pytest.fixture
def star(tmp_path):
    """Five particles with scores, in a folder of a run that suggests 0.3, and 0.9 for its second iteration."""
    text = HEAD + "".join(f"_{name} #{i}\n" for i, name in enumerate(COLUMNS, 1))
    text += "".join(" ".join(row) + "\n" for row in ROWS) + "\n\ndata_extra\n\nloop_\n_a #1\n_b #2\n1 2\n3 4\n"
    for name in ("run_data.star", "run_it002_data.star"):
        (tmp_path / name).write_text(text)
    thresholds = [{"number": 1, "score_threshold": 0.1}, {"number": 2, "score_threshold": 0.9}]
    run = {"particles": {"suggested_threshold": 0.3}, "iterations": thresholds}
    (tmp_path / "run.json").write_text(json.dumps(run))
    return tmp_path / "run_data.star"


def select(star, *words, out="kept.star"):
    """Numbers of the images kept, from 1."""
    assert main(["select", str(star), "--out", str(star.parent / out), *words]) == 0
    return kept(star.parent / out)


def kept(path):
    names = read_tables(path)["particles"].values(texts=["rlnImageName"])["rlnImageName"]
    return [int(name.split("@")[0]) for name in names]


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], [1, 3, 5]),
        (["--threshold", "0.31"], [1, 5]),
        (["--threshold", "-1"], [1, 2, 3, 5]),
        (["--min", "rlnDefocusU", "9000"], [2, 3, 4, 5]),
        (["--min", "rlnDefocusU", "9000", "--max", "rlnDefocusU", "11000"], [2, 3, 4]),
        (["--max", "rlnDefocusU", "11000", "--threshold", "suggested"], [1, 3]),
        (["--half", "2"], [2, 4, 5]),
        (["--class", "1", "3"], [1, 3, 4]),
        (["--class", "2", "--half", "2", "--threshold", "0"], [5]),
    ],
)
def test_criteria(star, words, expected):
    rejected = star.parent / "rejected.star"
    assert select(star, *words, "--rejected", str(rejected)) == expected
    assert kept(rejected) == [number for number in range(1, 6) if number not in expected]


def test_threshold_of_the_iteration_in_the_name(star):
    assert select(star.with_name("run_it002_data.star")) == [1]


def test_everything_else_stays(star):
    select(star, "--max", "rlnDefocusU", "1e9")
    written, read = (starfile.read(path, parse_as_string=list(COLUMNS)) for path in (star.parent / "kept.star", star))
    assert list(written) == list(read) == ["general", "particles", "extra"]
    assert written["general"] == read["general"]
    for name in ("particles", "extra"):
        assert written[name].equals(read[name])
    assert (star.parent / "kept.star").read_text().startswith("# made by hand\n")


def test_images_are_found_from_another_folder(tiny_set, tmp_path):
    assert main(["select", str(tiny_set / "truth.star"), "--out", str(tmp_path / "kept.star"), "--half", "1"]) == 0
    particles = read_particles(tmp_path / "kept.star")
    whole = read_particles(tiny_set / "truth.star")
    np.testing.assert_array_equal(particles.rot, whole.rot[whole.random_subset == 1])


def test_a_file_without_optics_stays_one(star):
    text = star.read_text().replace("# version 30001\n", "")
    star.write_text(text)
    select(star)
    assert "version" not in (star.parent / "kept.star").read_text()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--threshold", "2"], "no particle"),
        (["--min", "rlnDefocusU", "low"], "give a number"),
        (["--min", "rlnCtfMaxResolution", "4"], "no column rlnCtfMaxResolution"),
        (["--max", "someText", "4"], "not a number"),
    ],
)
def test_refusals(star, words, message, capsys):
    assert main(["select", str(star), "--out", str(star.parent / "kept.star"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (star.parent / "kept.star").exists()


@pytest.mark.parametrize(
    "content", [None, "{", "{}", '{"particles": {}}', '{"particles": {"suggested_threshold": null}}']
)
def test_no_threshold_is_suggested(star, content, capsys):
    (star.parent / "run.json").unlink()
    if content is not None:
        (star.parent / "run.json").write_text(content)
    assert main(["select", str(star), "--out", str(star.parent / "kept.star")]) == 2
    assert "--threshold" in capsys.readouterr().err


def test_the_folder_of_the_images_is_named(star, tmp_path_factory, caplog):
    caplog.set_level("INFO")
    select(star)
    assert "the stack of the first particle was not found: name the folder" in caplog.text
    (star.parent / "a.mrcs").touch()
    select(star)
    assert f"the image names begin in {star.parent}: " in caplog.text
    caplog.clear()
    folder = tmp_path_factory.mktemp("elsewhere")
    elsewhere, again = folder / "kept.star", folder / "again.star"
    for source, out in ((star, elsewhere), (elsewhere, again)):  # the second one knows by its comment
        assert main(["select", str(source), "--out", str(out), "--threshold", "0"]) == 0
    assert caplog.text.count(f"the image names begin in {star.parent}: ") == 2
    assert again.read_text().count("image names begin in") == 1


def test_one_name_for_both_files(star, capsys):
    name = str(star.parent / "kept.star")
    assert main(["select", str(star), "--out", name, "--rejected", name]) == 2
    assert "give two names" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out", "--rejected"])
def test_the_input_is_not_overwritten(star, capsys, option):
    before = star.read_bytes()
    other = "--rejected" if option == "--out" else "--out"
    words = ["select", str(star), option, str(star), other, str(star.parent / "other.star"), "--threshold", "0"]
    assert main(words) == 2
    assert "is read, and would be overwritten" in capsys.readouterr().err
    assert star.read_bytes() == before


def test_absolute_names_begin_anywhere(star, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    star.write_text(star.read_text().replace("@a.mrcs", f"@{tmp_path}/a.mrcs"))
    select(star)
    assert "was not found" in caplog.text
    (tmp_path / "a.mrcs").touch()
    select(star)
    assert f"the image names begin in {tmp_path / 'elsewhere'}: " in caplog.text
