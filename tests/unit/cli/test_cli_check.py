"""`pycryo check`: what it prints and how it ends."""

import pytest
from particle_files import star_31

from pycryo.cli.main import main
from pycryo.io.mrc import write_map
from pycryo.maps.density import soft_sphere


def check(capsys, *words):
    """Exit code and what was printed."""
    code = main(["check", *map(str, words)])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out


def test_nothing_to_say(tmp_path, capsys):
    assert check(capsys, star_31(tmp_path)) == (
        0,
        f"{tmp_path}/in.star: 3 particles in 1 stack(s), 1 optics group(s), 8 px of 1.5 Å\nno errors\nno warnings\n",
    )


def test_warnings_alone_are_no_failure(tmp_path, capsys):
    code, text = check(capsys, star_31(tmp_path, optics={"rlnVoltage": "30"}))
    assert code == 0
    assert "no errors\n1 warning:\n  1. " in text


def test_errors_and_warnings_apart(tmp_path, capsys):
    rows = {"all": {"rlnDefocusU": "1.5", "rlnDefocusV": "1.5", "rlnHelicalTubeID": "1"}}
    path = star_31(tmp_path, rows=rows)
    write_map(tmp_path / "ref.mrc", soft_sphere(8, 2, 1), 1.5)
    code, text = check(capsys, path, "--ref", tmp_path / "ref.mrc", "--mask", tmp_path / "none.mrc")
    assert code == 2
    lines = text.splitlines()
    assert lines[1] == "3 errors:"
    assert "micrometres" in lines[2]
    assert "--ini-high is 40 Å" in lines[3]
    assert "none.mrc" in lines[4]
    assert lines[5] == "1 warning:"
    assert "rlnHelicalTubeID" in lines[6]
    assert len(lines) == 7
    write_map(tmp_path / "mask.mrc", soft_sphere(8, 3, 1), 1.5)
    words = ["--ref", tmp_path / "ref.mrc", "--mask", tmp_path / "mask.mrc", "--ini-high", 5, "--no-ctf"]
    assert check(capsys, path, *words)[0] == 0


@pytest.mark.parametrize("words, found", [((), 0), (("--poses",), 2)])
def test_poses(tmp_path, capsys, words, found):
    assert check(capsys, star_31(tmp_path), *words)[0] == found


def test_a_file_that_is_none(tmp_path, capsys):
    code, text = check(capsys, tmp_path / "none.star")
    assert code == 2
    assert text.startswith("1 error:\n  1. ")
