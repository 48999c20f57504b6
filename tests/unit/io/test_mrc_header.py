"""MRC headers: hostile, packed and missing files."""

import bz2
import gzip

import pytest
from mrc_files import images_of, make_stack, patched

from pycryo.errors import InputError
from pycryo.io.mrc_header import read_header


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"nx": 1 << 30, "ny": 1 << 30, "nz": 1 << 30}, "is cut off"),
        ({"nz": 8}, "is cut off: 8 × 6 × 6 pixels of mode 2 need 2176 bytes, but it has 2032"),
        ({"nx": -6}, "not an MRC file"),
        ({"nz": 0}, "not an MRC file"),
        ({"mode": 77}, "not an MRC file"),
        ({"mode": 4}, r"mode 4 \(complex 32-bit\), which is not read; convert it to mode 2"),
        ({"mode": 101}, r"mode 101 \(4-bit\)"),
        ({"nsymbt": -4}, "not an MRC file"),
        ({"nsymbt": 1 << 30}, "is cut off"),
    ],
)
def test_hostile_headers(tmp_path, rng, fields, words):
    path = make_stack(tmp_path / "a.mrcs", images_of("f4", rng))
    patched(path, **fields)
    with pytest.raises(InputError, match=words) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("pack, word", [(gzip.compress, "gunzip"), (bz2.compress, "bunzip2")])
def test_packed_files_are_refused(tmp_path, rng, pack, word):
    path = make_stack(tmp_path / "a.mrcs", images_of("f4", rng))
    path.write_bytes(pack(path.read_bytes()))
    with pytest.raises(InputError, match=word):
        read_header(path)


def test_missing_empty_and_folder(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_header(tmp_path / "none.mrc")
    (tmp_path / "empty.mrc").touch()
    with pytest.raises(InputError, match="has 0 bytes"):
        read_header(tmp_path / "empty.mrc")
    with pytest.raises(InputError, match="directory"):
        read_header(tmp_path)
