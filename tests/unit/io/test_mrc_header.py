"""MRC headers: hostile, packed and missing files."""

import bz2
import gzip
import logging
import struct

import numpy as np
import pytest
from mrc_files import images_of, make_stack, patched
from particle_files import star_31

from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.mrc import read_map
from pycryo.io.mrc_header import read_header
from pycryo.io.mrc_stacks import read_stack
from pycryo.io.particles import examine_particles, read_particles


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


def with_bytes(path, values, low, high, stamp=None, order="<"):
    """A file of mode 0 with these bytes (n, N, N), a range in its header and, if given, IMOD's stamp with its flags."""
    make_stack(path, values.view(np.int8), big_endian=order == ">")
    raw = bytearray(path.read_bytes())
    raw[76:84] = struct.pack(f"{order}2f", low, high)
    if stamp is not None:
        raw[152:160] = struct.pack(f"{order}2i", 1146047817, stamp)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    "low, high, stamp, is_unsigned",
    [
        (0, 255, None, True),
        (3, 128, None, True),
        (0, 127, None, False),
        (-128, 127, None, False),
        (-128, 255, None, False),
        (0, 1e9, None, False),
        (0, -1, None, False),
        (float("nan"), float("nan"), None, False),
        (0, 255, 1, False),
        (0, 255, 0, True),
        (-128, 127, 0, True),
        (-128, 127, 5, False),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_signs_of_bytes(tmp_path, low, high, stamp, is_unsigned, order):
    values = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    path = with_bytes(tmp_path / "a.mrcs", values, low, high, stamp, order)
    header = read_header(path)
    assert bool(header.unsigned_by) == is_unsigned
    np.testing.assert_array_equal(read_stack(path, range(4)), values if is_unsigned else values.view(np.int8))


def test_unsigned_bytes_are_told(tmp_path, caplog):
    values = np.arange(512, dtype=np.uint16).astype(np.uint8).reshape(8, 8, 8)
    with caplog.at_level(logging.WARNING):
        read_particles(star_31(tmp_path))
        assert not caplog.text
        with_bytes(tmp_path / "a.mrcs", values, 0, 255)
        read_particles(tmp_path / "in.star")
    words = "the values of mode 0 are read as unsigned, 0 to 255, by"
    assert f"a.mrcs: {words} the range 0 to 255 in the header" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_map(with_bytes(tmp_path / "map.mrc", values, 0, 9, 0)).data, values)
    assert f"map.mrc: {words} IMOD's stamp in the header" in caplog.text


@pytest.mark.parametrize(
    "low, high, stamp, is_unknown",
    [
        (0, 0, None, True),
        (0, -1, None, True),
        (float("nan"), 9, None, True),
        (0, 300, None, True),
        (0, 0, 1, False),
        (0, 127, None, False),
        (-128, 127, None, False),
        (0, 255, None, False),
    ],
)
def test_bytes_of_unknown_sign_are_told(tmp_path, low, high, stamp, is_unknown):
    star_31(tmp_path)
    values = np.arange(512, dtype=np.uint16).astype(np.uint8).reshape(8, 8, 8)
    header = read_header(with_bytes(tmp_path / "a.mrcs", values, low, high, stamp))
    assert header.is_sign_unknown == is_unknown
    findings = Findings()
    examine_particles(tmp_path / "in.star", findings)
    told = "nothing in the header tells whether the bytes of mode 0 are signed"
    assert any(told in each.text for each in findings.warnings) == is_unknown
