"""NumPy's structured arrays: read as NumPy writes them, and refused where they are something else."""

import tracemalloc

import numpy as np
import pytest
from foreign_files import cs_columns, save_cs, structured

from pycryo.errors import InputError
from pycryo.io.foreign.structured import is_structured, read_structured, write_structured


def numpy_file(path, array, version=None):
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, version=version, allow_pickle=True)
    return path


def with_header(path, text, body=b"", version=1):
    data = text.encode("latin-1")
    width = 2 if version == 1 else 4
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + len(data).to_bytes(width, "little") + data + body)
    return path


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_as_numpy_writes(version, tmp_path):
    table = structured({**cs_columns(5), "flag": np.ones(5, bool), "big": np.arange(5, dtype=">i8"), "u": ["ä"] * 5})
    found = read_structured(numpy_file(tmp_path / "a.cs", table, version))
    assert found.dtype == table.dtype
    assert (found == table).all()
    assert is_structured(tmp_path / "a.cs")


def test_what_is_written_is_read_by_numpy(tmp_path):
    table = structured(cs_columns(5))
    write_structured(tmp_path / "a.cs", table)
    with open(tmp_path / "a.cs", "rb") as file:
        assert (np.lib.format.read_array(file, allow_pickle=False) == table).all()


def test_objects_are_not_loaded(tmp_path):
    table = np.zeros(2, [("uid", "<u8"), ("blob/path", object)])
    with pytest.raises(InputError, match=r"a\.cs holds Python objects in 'blob/path', which are not loaded"):
        read_structured(numpy_file(tmp_path / "a.cs", table))


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((2, 2), [("a", "<f4")]), np.zeros(2, [("a", "M8[s]")]), np.zeros(2, "O")]
)
def test_other_arrays(array, tmp_path):
    with pytest.raises(InputError, match=r"a\.cs (holds (no table|an array)|has a field)"):
        read_structured(numpy_file(tmp_path / "a.cs", array))


HEAD = "{{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ({},), }}"


@pytest.mark.parametrize(
    "text",
    [
        HEAD.format(10**12),
        HEAD.format("9" * 400),
        HEAD.format(3),
        HEAD.format(2).replace("<f4", "<S999999").replace("')]", "', (1000, 1000, 1000, 1000))]"),
        HEAD.format(1).replace("('a', '<f4')", "('a', '<f4'), ('a', '<f4')"),
        HEAD.format(1).replace("<f4", "<f99"),
        HEAD.format(1).replace("'<f4'", "'|S0', (2,)"),
        HEAD.format(1).replace("<f4", "|?4"),
        HEAD.format(1).replace("'a'", "__import__('os').system('true')"),
        "{" * 50_000,
        "-" * 60_000,
        "",
    ],
)
def test_no_memory_for_what_a_header_claims(text, tmp_path):
    path = with_header(tmp_path / "a.cs", text, bytes(8))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.cs (is cut off|holds|has a)"):
            read_structured(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"\x94CSDAT00", b"data_\n", b"PK\x03\x04"]
)
def test_other_files(data, tmp_path):
    (tmp_path / "a.cs").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.cs (is|has)"):
        read_structured(tmp_path / "a.cs")


def test_a_file_that_is_cut_off(tmp_path):
    path = save_cs(tmp_path / "a.cs", structured(cs_columns(5)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is cut off: it claims 5 rows"):
        read_structured(path)


def test_no_file(tmp_path):
    assert not is_structured(tmp_path / "a.cs")
    with pytest.raises(InputError, match=r"cannot read .*a\.cs: No such file"):
        read_structured(tmp_path / "a.cs")
