"""Readers return or say what is wrong, whatever a file holds; they cost no more than a small multiple of its size."""

import ast
import json
import signal
import time
import tracemalloc
import types
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
from hostile_files import READERS, only_own_errors, read_finished
from hypothesis import given, settings
from hypothesis import strategies as st
from mrc_files import patched
from particle_files import star_31

from pycryo.cli.commands.select import suggested_threshold
from pycryo.errors import InputError
from pycryo.io.json_file import fitting, read_object
from pycryo.io.mrc import read_map, write_map
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.selection import read_particle_table, write_rows
from pycryo.io.star import read_tables, write_star
from pycryo.maps.atoms import model_density
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files.saved.array_file import read_arrays, sign, write_arrays
from pycryo.refinement.optics.pictures import picture_name
from pycryo.report.page import build_report

PACKAGE = Path(__file__).resolve().parents[3] / "pycryo"
# A table in memory has objects for lists of short values, and buffers of 1 MiB for counts (star.py, table.py).
MOST_TIMES, MOST_BYTES = 50, 64 << 20


@pytest.fixture(autouse=True)
def ends_in_time():
    """A reader that does not end fails its test instead of stopping all of them."""

    def stop(number, frame):
        raise AssertionError("a reader takes more than 60 s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", READERS)
def test_spoiled_files_are_read_or_refused(name, tmp_path):
    reader = READERS[name]
    seeds = reader.seeds(tmp_path)

    @settings(max_examples=200)
    @given(st.integers(0, len(seeds) - 1), st.lists(st.integers(0, 2**32 - 1), max_size=3))
    def read(number, changes):
        data = seeds[number]
        for change in changes:
            data = reader.spoil(data, Random(change))
        (tmp_path / reader.name).write_bytes(data)
        with only_own_errors():
            reader.read(tmp_path / reader.name)

    read()


HEAD = b"data_\nloop_\n_a\n_b\n"
KB = 1 << 10
LARGE = {
    "quotes that do not end": HEAD + b'"x ' * 60 * KB,
    "both quotes": HEAD + b"'x \"y " * 30 * KB,
    "a value with quotes": b"data_\n_a " + b'"x ' * 60 * KB,
    "columns": b"data_\nloop_\n" + b"".join(b"_a%d\n" % i for i in range(30 * KB)),
    "tables of one name": b"data_\n_a 1\n" * 15 * KB,
    "loops": b"data_\n" + b"loop_\n_a\n" * 15 * KB,
    "pairs": b"data_\n" + b"".join(b"_a%d 1\n" % i for i in range(30 * KB)),
    "blank lines": HEAD + b"1 2\n" + b"\n" * 100 * KB + b"3 4\n",
    "comments": HEAD + b"1 2\n" + b"#\n" * 50 * KB + b"3 4\n",
    "blanks": HEAD + b" " * 256 * KB + b"1 2\n",
    "one line": HEAD + b"ab " * 60 * KB,
    "a label": b"data_\nloop_\n_" + b"x" * 1024 * KB + b"\n1\n",
    "a name": b"data_" + b"x#" * 512 * KB + b" y\n_a 1\n",
    "no loop": b"data_\nloop_\n" + b"1 2\n" * 64 * KB,
}


@pytest.mark.parametrize("name", LARGE)
def test_time_and_memory_grow_with_the_file(name, tmp_path):
    """Of what a reader might look at again and again."""
    path = tmp_path / "in.star"
    path.write_bytes(LARGE[name])
    began = time.process_time()
    with only_own_errors():
        read_tables(path)
    assert time.process_time() - began < 3  # 0.1 s each; much more where time grows with the square
    tracemalloc.start()
    try:
        with only_own_errors():
            read_tables(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_TIMES * len(LARGE[name]) + MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "fields",
    [
        {"nx": 10**4, "ny": 10**4, "nz": 10**4},
        {"nx": 2**31 - 1, "ny": 2**31 - 1, "nz": 2**31 - 1},
        {"nsymbt": 2**31 - 1},
        {"nsymbt": -1024},
        {"nz": -4},
        {"mode": 77},
    ],
)
def test_no_memory_for_what_a_header_claims(fields, tmp_path):
    path = tmp_path / "in.mrc"
    write_map(path, np.random.default_rng(1).normal(size=(4, 4, 4)), 1.5)
    patched(path, **fields)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"in\.mrc (is cut off|is not an MRC file)"):
            read_map(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_values_after_a_byte_order_mark_may_hold_odd_blanks(tmp_path):
    """Blanks of Unicode, which are none in a STAR file."""
    (tmp_path / "in.star").write_text("data_\nloop_\n_a\n_b\n\ufeff1\xa02 x\n3 \u2003\n", "utf-8")
    table = read_tables(tmp_path / "in.star")[""]
    assert table.values(texts=["a", "b"])["a"].tolist() == ["\ufeff1\xa02", "3"]


def test_names_of_tables_keep_their_signs(tmp_path):
    """All but the number that `read_tables` adds."""
    text = b"data_a#b\n_x 1\n\ndata_a#b\n_y 2\n"
    (tmp_path / "in.star").write_bytes(text)
    tables = read_tables(tmp_path / "in.star")
    assert list(tables) == ["a#b", "a#b#2"]
    write_star(tmp_path / "out.star", tables)
    assert list(read_tables(tmp_path / "out.star")) == ["a#b", "a#b#2"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rows": {0: {"rlnImageName": "1@" + "a" * 5000}}}, "there is no file"),
        ({"rows": {0: {"rlnImageName": "9" * 5000 + "@a.mrcs"}}}, "does not begin with the number"),
        ({"optics": {"rlnOpticsGroup": "nan"}}, "rlnOpticsGroup of data_optics is nan"),
        ({"optics": {"rlnOpticsGroup": "1e300"}}, r"rlnOpticsGroup of data_optics is 1e\+300"),
        ({"optics": {"rlnImageSize": "nan"}}, "rlnImageSize is nan"),
        ({"optics": {"rlnImageSize": "1e300"}}, r"rlnImageSize is 1e\+300"),
        ({"optics": {"rlnImageSize": "-8"}}, "rlnImageSize is -8"),
        ({"optics": {"rlnMagMat00": "1e308", "rlnMagMat11": "1e308"}}, "is no magnification"),
    ],
)
def test_absurd_values_are_named(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_particles(star_31(tmp_path, **changes))


def test_an_empty_optics_table_is_none(tmp_path):
    path = star_31(tmp_path)
    lines = [line for line in path.read_text().splitlines(keepends=True) if not line.startswith("1 first")]
    path.write_text("".join(lines))
    found = read_particles(path).optics
    assert (found.name, found.pixel_size.tolist(), found.box.tolist()) == (("opticsGroup1",), [1.5], [8])


@pytest.mark.parametrize("text", ["nan", "1e30", "inf"])
def test_atoms_are_somewhere(text, tmp_path):
    data = READERS["model"].seeds(tmp_path)[1].replace(b"3.0 2.0", text.encode() + b" 2.0", 1)
    assert text.encode() in data
    (tmp_path / "in.cif").write_bytes(data)
    with pytest.raises(InputError, match=r"coordinates|no atomic model|no atoms"):
        model_density(tmp_path / "in.cif", 16, 4.0)


@pytest.mark.parametrize("text", ["nan", "inf", "1e38"])
def test_atoms_have_a_density(text, tmp_path):
    data = READERS["model"].seeds(tmp_path)[1].replace(b" 1.0 20.0", b" " + text.encode() + b" 20.0")
    (tmp_path / "in.cif").write_bytes(data)
    with only_own_errors():
        assert np.isfinite(model_density(tmp_path / "in.cif", 16, 4.0).data).all()


@pytest.mark.parametrize("name", ["in.pdb", "in.cif"])
def test_an_empty_file_is_no_model(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"no atomic model|no atoms"):
        model_density(tmp_path / name, 16, 4.0)


@pytest.mark.parametrize("text", ["[" * 10_000, "null", "[]", '{"a": ' * 10_000, "\x00", '{"a": 1', "9" * 5000])
def test_other_json(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json .*; do this"):
        read_object(tmp_path / "run.json", "do this")
    with pytest.raises(InputError, match="give the score"):
        suggested_threshold(tmp_path / "run_data.star")
    for read in (build_report, read_finished):
        with pytest.raises(InputError, match=r"run\.json .*run"):
            read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"options": []},
        {"options": {"particles_dir": 7}},
        {"diameter": "wide"},
        {"symmetry": {}},
        {"classes": "two"},
        {"iterations": [{}], "particles": {}, "resolution": 1, "box": 8, "pixel_size": 1, "symmetry": 3},
    ],
)
def test_run_json_of_other_content(content, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"status": "done", "diameter": 9.0} | content))
    for read in (build_report, read_finished):
        with only_own_errors():
            read(tmp_path)


def test_errors_of_the_content_name_the_file():
    with (
        pytest.raises(InputError, match=r"run\.json is not as pycryo writes it \(KeyError: 'x'\); do this"),
        fitting("run.json", "do this"),
    ):
        {}["x"]
    with pytest.raises(InputError, match=r"^as it is$"), fitting("run.json", "do this"):
        raise InputError("as it is")


@pytest.mark.parametrize("place", [0, 100, -50, -1])
def test_a_changed_bit_of_a_checkpoint_is_found_before_hdf5_reads_it(place, tmp_path):
    path = tmp_path / "state.h5"
    with write_arrays(SerialComm(), path, {"a": 1}) as sink:
        sink.write("x", np.ones(9))
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksum"), read_arrays(SerialComm(), path):
        pass


@pytest.mark.parametrize("header", [["{}", "{}"], "[" * 10_000, "[1]", "nothing", 7])
def test_checkpoints_with_another_header(header, tmp_path):
    path = tmp_path / "state.h5"
    with h5py.File(path, "w") as file:
        file["header"] = header
    with open(path, "r+b") as raw:
        sign(raw)
    with pytest.raises(InputError, match="it is damaged or no checkpoint"), read_arrays(SerialComm(), path):
        pass


def test_names_in_a_star_file_lead_nowhere_outside_the_output_folder(tmp_path):
    """The stack is read from where its name says; nothing is written there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    source = star_31(tmp_path / "data", rows={"all": {"rlnImageName": "{i}@../data/a.mrcs"}})
    text = source.read_text().replace("first", "../../../evil").replace("data_particles", "data_../../x")
    source.write_text(text)
    before = set(tmp_path.rglob("*"))
    particles = read_particles(source)
    assert "/" not in picture_name(particles, 0)
    write_particles(tmp_path / "out" / "a.star", particles, {})
    write_rows(tmp_path / "out" / "b.star", read_particle_table(source), np.arange(2))
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "out" / "a.star", tmp_path / "out" / "b.star"}


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "\u0394" * 400, "a" * 4000, ".", ""])
def test_names_of_pictures_are_file_names(name):
    optics = types.SimpleNamespace(name=(name, name + "b"), number=(1, 2147483647))
    found = [picture_name(types.SimpleNamespace(optics=optics), group) for group in (0, 1)]
    assert len(set(found)) == 2
    assert all("/" not in each and len(each.encode()) < 255 for each in found)


def test_no_file_is_unpickled():
    """Between ranks mpi4py pickles; no file is read that way."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & {each.split(".")[0] for each in names}, path
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("np.load", "numpy.load"):
                raise AssertionError(f"{path}: np.load, which may unpickle")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path
