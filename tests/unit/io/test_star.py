"""STAR files against starfile, odd spellings, and round trips."""

import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pycryo.errors import InputError
from pycryo.io import star, table
from pycryo.io.star import read_comments, read_star, read_tables, write_star
from pycryo.io.table import Table, make_table


def written(tmp_path, text, name="a.star"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def assert_same(ours, theirs):
    """Our text equals starfile's columns after the same conversion to numbers."""
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        found = ours[name]
        if isinstance(expected, dict):
            assert list(found) == list(expected)
            for label, value in expected.items():
                assert (found[label] if isinstance(value, str) else float(found[label])) == value
            continue
        assert list(found.columns) == list(expected.columns)
        assert len(found) == len(expected)
        for label in expected.columns:
            if pd.api.types.is_numeric_dtype(expected[label]):
                # '' is NaN for starfile; pandas' parser is off by one unit in the last place now and then.
                numbers = found[label].replace("", "nan").astype(float)
                np.testing.assert_allclose(numbers, expected[label].astype(float), rtol=1e-15)
            else:
                assert found[label].tolist() == expected[label].astype(str).tolist()


# Rows of unequal length: neither reads these.
UNEVEN = {
    "sample.star": r"line 20: 5 values for the 4 columns of data_planetary",
    "uneven.star": r"line 14: 4 values for the 3 columns of data_samples",
}


@pytest.fixture(params=["own", pytest.param("maintainers", marks=pytest.mark.maintainers)])
def star_files(request, tmp_path) -> list[Path]:
    """Files of many programs; our own as they are, with the line ends of Windows, and without the last line end."""
    if request.param == "maintainers":
        paths = sorted((request.getfixturevalue("shared") / "data" / "star").rglob("*.star"))
        assert len(paths) > 30
        return paths
    paths = sorted(request.getfixturevalue("own_star").glob("*.star"))
    assert len(paths) > 15
    changes = {"windows": lambda text: text.replace(b"\n", b"\r\n"), "open": bytes.rstrip}
    for kind, change in changes.items():
        (tmp_path / kind).mkdir()
        for path in paths:
            (tmp_path / kind / path.name).write_bytes(change(path.read_bytes()))
    return [*paths, *sorted(tmp_path.rglob("*.star"))]


@pytest.mark.filterwarnings("ignore")
def test_reads_what_starfile_reads(star_files):
    for path in star_files:
        if path.name in UNEVEN:
            with pytest.raises(InputError, match=UNEVEN[path.name]):
                read_star(path)
            continue
        assert_same(read_star(path), starfile.read(path, always_dict=True))


@pytest.mark.filterwarnings("ignore")
def test_rewriting_keeps_every_value(star_files, tmp_path):
    for path in star_files:
        if path.name not in UNEVEN:
            first = read_tables(path)
            write_star(tmp_path / "a.star", first)
            again = read_star(tmp_path / "a.star")
            for name, expected in read_star(path).items():
                if isinstance(expected, dict):
                    assert again[name] == expected
                else:
                    pd.testing.assert_frame_equal(again[name], expected)


texts = st.text(string.ascii_letters + string.digits + " \t'\"#_@/.-+Åé", max_size=8)
labels = st.lists(
    st.text(string.ascii_letters + string.digits, min_size=1, max_size=8), min_size=1, max_size=5, unique=True
)


def representable(value):
    return not any(quote + blank in value for quote in "'\"" for blank in " \t")


@given(labels, st.data())
@settings(max_examples=50, deadline=None)
def test_any_text_survives(tmp_path_factory, columns, data):
    rows = data.draw(st.lists(st.tuples(*[texts.filter(representable)] * len(columns)), max_size=6))
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    pairs = dict(zip(columns, data.draw(st.tuples(*[texts.filter(representable)] * len(columns))), strict=True))
    path = tmp_path_factory.mktemp("star") / "a.star"
    write_star(path, {"loop": frame, "pairs": pairs, "": frame}, comments=["made by a test"])
    again = read_star(path)
    assert list(again) == ["loop", "pairs", ""]
    pd.testing.assert_frame_equal(again["loop"], frame)
    pd.testing.assert_frame_equal(again[""], frame)
    assert again["pairs"] == pairs
    write_star(path, read_tables(path))
    pd.testing.assert_frame_equal(read_star(path)["loop"], frame)


@given(
    st.lists(
        st.sampled_from(["data_a", "data_", "loop_", "_x", "_y #2", "1 2", " 3\t4 ", "'a b' c", "# c", "", "\r", "5"])
    )
)
@settings(max_examples=100, deadline=None)
def test_any_lines_are_read_or_refused(tmp_path_factory, lines):
    path = written(tmp_path_factory.mktemp("star"), "\n".join(lines))
    try:
        tables = read_star(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert all(name is not None for name in tables)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory, raw):
    path = written(tmp_path_factory.mktemp("star"), b"data_x\nloop_\n_a\n" + raw)
    try:
        read_star(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_odd_spellings(tmp_path, newline):
    text = (
        "\ufeff# head\n\n  data_   # no name\nloop_ # two\n_a #1 comment\n\n_b\n# between\n1\t2\n\n  3   4  # five\n"
        "# end\ndata_pairs\n_x  'two words'\n_y\n_z 1 # one\ndata_rows\nloop_\n_p\n_q\ndata_1/a.mrc \"\"\nmic#1 it's\n"
        "loop_\n_only\ndata_pairs\n_x 5"
    )
    tables = read_star(written(tmp_path, text.replace("\n", newline)))
    assert list(tables) == ["", "pairs", "rows", "rows#2", "pairs#2"]
    assert tables[""].to_dict("list") == {"a": ["1", "3"], "b": ["2", "4"]}
    assert tables["pairs"] == {"x": "two words", "y": "", "z": "1"}
    assert tables["rows"].to_dict("list") == {"p": ["data_1/a.mrc", "mic#1"], "q": ["", "it's"]}
    assert len(tables["rows#2"]) == 0
    assert tables["pairs#2"] == {"x": "5"}


def test_comments_at_the_head(tmp_path):
    path = written(tmp_path, "\n# version 30001\n#second\n\ndata_\n_a 1\n# third\n")
    assert read_comments(path) == ["version 30001", "second"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "holds no table"),
        ("hello\nworld\n", "line 1: this line belongs to no table"),
        ("_a 1\n", "line 1: no data_ line stands before this"),
        ("data_\nloop_\n1 2\n", "line 3: no column names follow loop_"),
        ("data_p\n\nloop_\n_a\n_b\n1 2\n3\n", "line 7: 1 values for the 2 columns of data_p; correct the line"),
        ("data_p\nloop_\n_a\n_b\n1 2\n\n3 '4 5' 6\n", "line 7: 3 values for the 2 columns"),
        ("data_p\nloop_\n_a\n_a\n1 2\n", "line 4: column a occurs twice"),
        ("data_p\n_a 1 2\n", "line 2: more than one value follows _a"),
        ("data_p\n_a 1\nstray\n", "line 3: this line belongs to no table"),
        ("data_p\n\0", "not a text file"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=words) as caught:
        read_star(path)
    assert str(caught.value).startswith(str(path))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.star: No such file"):
        read_star(tmp_path / "none.star")


def test_not_a_number_names_row_and_column(tmp_path):
    path = written(tmp_path, "data_p\nloop_\n_a\n_b\n1 x\n2 y\noops z\nnan w\n")
    with pytest.raises(InputError, match=r"data_p, row 3: a is 'oops', not a number"):
        read_tables(path)["p"].values(["a"], ["b"])
    with pytest.raises(InputError, match="has no column c"):
        read_tables(path)["p"].values(["c"])


def test_nan_and_bytes_outside_utf8(tmp_path):
    path = written(tmp_path, b"data_p\nloop_\n_a\n_b\nnan mic\xe9.mrc\n-1e3 x\n")
    found = read_tables(path)["p"].values(["a"], ["b"])
    np.testing.assert_array_equal(found["a"], [np.nan, -1000])
    write_star(tmp_path / "b.star", read_tables(path))
    assert b"mic\xe9.mrc" in (tmp_path / "b.star").read_bytes()


def test_chunks_and_threads_change_nothing(monkeypatch):
    whole = make_table({"a": np.arange(1000), "b": np.linspace(0, 1, 1000), "c": [f"t{i}" for i in range(1000)]})
    expected = whole.values(["a", "b"], ["c"])
    monkeypatch.setattr(table, "_CHUNK_BYTES", 100)
    found = whole.values(["a", "b"], ["c"])
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    np.testing.assert_array_equal(found["a"], np.arange(1000))


def test_counting_crosses_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(star, "_CHUNK", 7)
    rows = "".join(f" {i}  {i * i} \n" for i in range(50))
    found = read_star(written(tmp_path, "data_p\nloop_\n_a\n_b\n" + rows))["p"]
    assert found["b"].astype(int).tolist() == [i * i for i in range(50)]


def test_with_columns(tmp_path):
    first = read_tables(written(tmp_path, "data_p\nloop_\n_a\n_b\n_c\n01 x 3\n02 y 4\n03 z 5\n"))["p"]
    second = first.with_columns({"b": np.array([0.5, 1e-9]), "d": np.array([7, 8])}, drop=["c"], rows=np.array([2, 0]))
    assert second.columns == ("a", "b", "d")
    assert [line.split() for line in second.body.splitlines()] == [
        [b"03", b"0.500000", b"7"],
        [b"01", b"1.000000e-09", b"8"],
    ]
    third = second.with_columns({"e": ["two words", ""]})
    assert third.frame()["e"].tolist() == ["two words", ""]
    assert third.with_columns({}, rows=np.array([1])).frame()["d"].tolist() == ["8"]
    assert first.with_columns({}, drop=["b", "c"]).frame()["a"].tolist() == ["01", "02", "03"]
    with pytest.raises(ValueError, match=r"e: expected shape \(3,\), got \(2,\)"):
        first.with_columns({"e": np.zeros(2)})


def test_formats_are_relions(tmp_path):
    write_star(tmp_path / "a.star", {"x": make_table({"i": np.array([1, -20]), "f": np.array([-0.5, 12345.678])})})
    lines = (tmp_path / "a.star").read_text().splitlines()
    assert lines[:7] == ["", "# version 30001", "", "data_x", "", "loop_ ", "_i #1 "]
    assert lines[8] == "           1    -0.500000"
    assert lines[9] == "         -20 12345.678000"


def test_starfile_reads_what_is_written(tmp_path):
    frame = pd.DataFrame({"n": [1, 2], "x": [0.25, -3e-7], "s": ["plain", "two words"]})
    write_star(tmp_path / "a.star", {"p": frame, "general": {"a": 1.5, "b": "text here"}})
    again = starfile.read(tmp_path / "a.star")
    assert again["p"]["s"].tolist() == ["plain", "two words"]
    np.testing.assert_allclose(again["p"]["x"], [0.25, -3e-7])
    assert again["general"] == {"a": 1.5, "b": "text here"}


def test_values_that_star_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="cannot hold"):
        write_star(tmp_path / "a.star", {"p": {"a": "two\nlines"}})
    with pytest.raises(InputError, match="both kinds of quotes"):
        write_star(tmp_path / "a.star", {"p": {"a": "a\" b' c"}})
    assert not (tmp_path / "a.star").exists()


def test_empty_table():
    empty = Table(("a", "b"), b"", 0)
    assert empty.values(["a"], ["b"])["a"].shape == (0,)
    assert len(empty.frame()) == 0
    assert empty.with_columns({"a": np.zeros(0)}).n == 0


def test_small_loops_are_read_without_pandas_to_the_same_bits(rng, monkeypatch):
    numbers = [f"{value:.{rng.integers(0, 9)}f}" for value in rng.normal(0, 1e4, 5000)]
    numbers += [f"{value:.6f}" for value in rng.uniform(0, 1e-3, 500)]
    numbers += [f"{value:.6e}" for value in rng.uniform(1, 9.99, 2000) * 10.0 ** rng.integers(-15, 15, 2000)]
    numbers += ["0", "-0.000000", "+1.5", ".25", "7.", "123456789012345", "0.00000000000001", "-99999999.9999999"]
    texts = [f"{i}@stäck.mrcs" for i in range(len(numbers))]
    body = "".join(f"{text} {number} \n" for text, number in zip(texts, numbers, strict=True)).encode()
    loop = Table(("t", "x"), body, len(numbers))
    found = loop._parse_small({"t": 0, "x": 1}, ["x"])
    monkeypatch.setattr(table, "_SMALL_BYTES", 0)
    expected = loop.values(["x"], ["t"])
    assert found["x"].tobytes() == expected["x"].tobytes()
    assert found["t"].dtype == object
    assert found["t"].tolist() == expected["t"].tolist() == texts


@pytest.mark.parametrize(
    "value",
    [
        "1e5",
        "1.000000e-16",
        "1.000000e+16",
        "nan",
        "inf",
        "1_0",
        "0.1234567890123456",
        "1234567890123456",
        "1.2.3",
        "-",
        ".",
        "٣",
    ],
)
def test_other_numbers_are_left_to_pandas(value):
    assert Table(("x", "y"), f"{value} 1\n".encode(), 1)._parse_small({"x": 0}, ["x"]) is None
