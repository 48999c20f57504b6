"""`pycryo subset`: which rows are in the part, and that everything else stays as it was."""

import numpy as np
import pytest
import starfile

from pycryo.cli.main import main
from pycryo.io.star import read_tables

N = 60


@pytest.fixture
def star(tmp_path):
    """Sixty particles on six micrographs, of two optics groups, with columns that nobody knows."""
    rows = [
        f"{i:03d}@a.mrcs mic{(i - 1) // 10}.mrc {1 + (i > 40)} {1 + i % 2} {1 + i % 3} {i}.5000 'odd {i}'"
        for i in range(1, N + 1)
    ]
    labels = ("ImageName", "MicrographName", "OpticsGroup", "RandomSubset", "ClassNumber", "DefocusU", "someText")
    text = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\nold 1\nnew 2\n\n"
    text += "data_particles\n\nloop_\n" + "".join(f"_rln{name} #{i}\n" for i, name in enumerate(labels, 1))
    text += "\n".join(rows) + "\n\ndata_extra\n\nloop_\n_a #1\n_b #2\n1 2\n"
    (tmp_path / "p.star").write_text(text)
    return tmp_path / "p.star"


def part(star, *words):
    """Numbers of the images in the part, from 1."""
    out = star.parent / "part.star"
    assert main(["subset", str(star), "--out", str(out), *words]) == 0
    return numbers(out)


def numbers(path):
    names = read_tables(path)["particles"].values(texts=["rlnImageName"])["rlnImageName"]
    return [int(name.split("@")[0]) for name in names]


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--rows", "1-3, 7,60"], [1, 2, 3, 7, 60]),
        (["--optics-group", "new"], range(41, 61)),
        (["--group", "1"], range(1, 41)),
        (["--optics-group", "1", "new"], range(1, 61)),
        (["--micrograph", "mic0.mrc", "mic5.mrc"], [*range(1, 11), *range(51, 61)]),
        (["--half", "1"], range(2, 61, 2)),
        (["--class", "1", "--optics-group", "2"], range(42, 61, 3)),
        (["--rows", "11-30", "--half", "2"], range(11, 31, 2)),
    ],
)
def test_part(star, words, expected):
    assert part(star, *words) == list(expected)


def test_everything_else_stays(star):
    part(star, "--rows", "5")
    before, after = star.read_text(), (star.parent / "part.star").read_text()
    assert "'odd 5'" in after or '"odd 5"' in after
    assert " 5.5000 " in f" {after.replace(chr(9), ' ')} "
    assert read_tables(star)["extra"].body == read_tables(star.parent / "part.star")["extra"].body
    optics = [starfile.read(path)["optics"] for path in (star, star.parent / "part.star")]
    assert optics[0].equals(optics[1])
    assert before == star.read_text()


def test_random_part(star):
    found = part(star, "--n", "15", "--seed", "3")
    assert len(found) == 15
    assert found == sorted(found)  # in the order of the file
    assert part(star, "--n", "15", "--seed", "3") == found
    assert part(star, "--n", "15", "--seed", "4") != found
    assert len(part(star, "--fraction", "0.1", "--half", "1")) == 3
    assert part(star, "--fraction", "1") == list(range(1, 61))


def test_the_order_of_the_rows_draws_the_same(star):
    found = part(star, "--n", "20")
    lines = star.read_text().split("\n")
    first = next(i for i, line in enumerate(lines) if "@" in line)
    lines[first : first + N] = lines[first : first + N][::-1]
    star.write_text("\n".join(lines))
    assert part(star, "--n", "20") == found[::-1]


def test_whole_micrographs(star):
    found = part(star, "--n", "2", "--whole", "micrograph")
    assert len(found) == 20
    assert len({(i - 1) // 10 for i in found}) == 2
    assert part(star, "--n", "1", "--whole", "optics-group") in (list(range(1, 41)), list(range(41, 61)))


def test_rest(star):
    found = part(star, "--n", "25", "--rest", str(star.parent / "rest.star"))
    assert sorted(found + numbers(star.parent / "rest.star")) == list(range(1, 61))


def test_draws_are_even(star):
    """Each particle is in a third of 60 draws: 20 ± 4 · √(60 · 2/9)."""
    counts = np.bincount(np.concatenate([part(star, "--n", "20", "--seed", str(s)) for s in range(60)]), minlength=61)
    assert np.abs(counts[1:] - 20).max() < 4 * np.sqrt(60 * 2 / 9)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--n", "61"], "there are 60 particles"),
        (["--n", "0"], "--n is 0"),
        (["--fraction", "0"], "--fraction must be above 0"),
        (["--rows", "0-3"], "rows go from 1 to 60"),
        (["--rows", "a"], "give numbers and ranges"),
        (["--optics-group", "gone"], "has gone, but"),
        (["--optics-group", "3"], "no particle of the optics group 3"),
        (["--micrograph", "mic9.mrc"], "no particle with rlnMicrographName mic9.mrc"),
        (["--class", "7"], "meets all criteria"),
        (["--whole", "micrograph"], "--whole says what is drawn"),
        (["--seed", "-1"], "--seed must be"),
        (["--rest", "{out}"], "give two names"),
        (["--rest", "{star}"], "is read, and would be overwritten"),
    ],
)
def test_refused(star, capsys, words, message):
    out = star.parent / "part.star"
    assert main(["subset", str(star), "--out", str(out), *(word.format(out=out, star=star) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
