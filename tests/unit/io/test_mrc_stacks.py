"""MRC stacks against mrcfile, of all modes and byte orders."""

import errno
import os

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrc_files import images_of, make_stack

from pycryo.errors import InputError, RunError
from pycryo.io import mrc_stacks
from pycryo.io.mrc_header import MODES, read_header
from pycryo.io.mrc_stacks import read_stack, write_stack


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("extended", [b"", b"x" * 320])
def test_modes_and_byte_orders(tmp_path, rng, mode, big_endian, extended):
    data = images_of(MODES[mode], rng)
    path = make_stack(tmp_path / "a.mrcs", data, big_endian=big_endian, extended=extended)
    header = read_header(path)
    assert (header.nx, header.ny, header.nz, header.mode) == (6, 6, 7, mode)
    assert header.offset == 1024 + len(extended)
    assert header.pixel_size == 1.5
    rows = [5, 0, 1, 2, 6, 2]
    result = read_stack(path, rows)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, data[rows].astype(np.float32))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"\x44\x44\0\0", b"\x11\x11\0\0", b"\x44\x41\0\0"])
def test_wrong_or_missing_machine_stamp(tmp_path, rng, big_endian, stamp):
    data = images_of("f4", rng)
    path = make_stack(tmp_path / "a.mrcs", data, big_endian=big_endian, stamp=stamp)
    np.testing.assert_array_equal(read_stack(path, range(7)), data)


@given(st.lists(st.integers(0, 8), max_size=20), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_any_order_and_read_size(tmp_path_factory, indices, read_bytes):
    path = tmp_path_factory.mktemp("order") / "a.mrcs"
    data = np.arange(9 * 4 * 4, dtype=np.float32).reshape(9, 4, 4)
    write_stack(path, [data], (4, 4), 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mrc_stacks, "_LEAST_READ", read_bytes)
        patch.setattr(mrc_stacks, "_MOST_READ", 2 * read_bytes)
        np.testing.assert_array_equal(read_stack(path, indices), data[indices])


def test_neighbours_are_one_read(tmp_path, rng, monkeypatch):
    data = images_of("f4", rng)
    write_stack(tmp_path / "a.mrcs", [data], (6, 6), 1.0)
    header = read_header(tmp_path / "a.mrcs")
    calls = []
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *args: calls.append(args[2]) or preadv(*args))
    read_stack(header, [4, 1, 2, 3, 6])
    assert len(calls) == 2


def test_index_beyond_the_stack(tmp_path, rng):
    path = make_stack(tmp_path / "a.mrcs", images_of("f4", rng))
    with pytest.raises(InputError, match="has 7 images; there is no image 8"):
        read_stack(path, [0, 7])
    with pytest.raises(InputError, match="there is no image 0"):
        read_stack(path, [-1])


def test_a_stack_that_changes_during_the_run(tmp_path, rng):
    data = images_of("f4", rng)
    path = make_stack(tmp_path / "a.mrcs", data)
    header, found = read_header(path), path.stat()
    os.utime(path, (found.st_atime, found.st_mtime - 0.5))  # as another node may round it
    np.testing.assert_array_equal(read_stack(header, range(7)), data)
    os.utime(path, (found.st_atime, found.st_mtime + 5))
    with pytest.raises(RunError, match=r"a\.mrcs was changed during the run; bring back .* or begin anew"):
        read_stack(header, range(7))
    np.testing.assert_array_equal(read_stack(path, range(7)), data)  # a new run begins with the new file
    with open(path, "ab") as file:
        file.write(bytes(144))
    os.utime(path, (found.st_atime, found.st_mtime))
    with pytest.raises(RunError, match="was changed during the run"):
        read_stack(header, range(7))
    os.truncate(path, 1024 + 3 * 144)
    with pytest.raises(RunError, match="cut off during the run: it has 1456 bytes, no longer 2032; bring back"):
        read_stack(header, range(7))


def test_a_stack_that_is_cut_while_it_is_read(tmp_path, rng, monkeypatch):
    path = make_stack(tmp_path / "a.mrcs", images_of("f4", rng))
    header = read_header(path)
    monkeypatch.setattr(mrc_stacks, "_refuse_change", lambda *_: os.truncate(path, 1024 + 3 * 144))
    with pytest.raises(RunError, match=r"ends within image 1\.\.7; it was cut off during the run"):
        read_stack(header, range(7))


def test_a_stack_that_is_out_of_sight_is_waited_for(tmp_path, rng, monkeypatch, caplog):
    """For a while, during the run; a name that is wrong from the beginning is told at once."""
    data = images_of("f4", rng)
    path = make_stack(tmp_path / "a.mrcs", data)
    header = read_header(path)
    path.rename(tmp_path / "hidden")
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            (tmp_path / "hidden").rename(path)

    monkeypatch.setattr(mrc_stacks.time, "sleep", sleep)
    np.testing.assert_array_equal(read_stack(header, range(7)), data)
    assert len(looks) == 3
    (message,) = caplog.messages
    assert message == f"{path} is not there (No such file or directory): waiting for it"
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        read_stack(path, [0])
    assert len(looks) == 3
    monkeypatch.setattr(mrc_stacks, "LATE", 0.0)
    with pytest.raises(RunError, match=r"cannot read .*a\.mrcs: No such file .* last checkpoint"):
        read_stack(header, [0])


@pytest.mark.parametrize("code, n_read", [(errno.ESTALE, 2), (errno.EIO, 1)])
def test_a_stale_handle_is_opened_anew(tmp_path, rng, monkeypatch, code, n_read):
    data = images_of("f4", rng)
    header = read_header(make_stack(tmp_path / "a.mrcs", data))
    preadv, calls = os.preadv, []

    def fail_first(*args):
        calls.append(args)
        if len(calls) == 1:
            raise OSError(code, os.strerror(code))
        return preadv(*args)

    monkeypatch.setattr(os, "preadv", fail_first)
    if code == errno.ESTALE:
        np.testing.assert_array_equal(read_stack(header, range(7)), data)
    else:
        with pytest.raises(RunError, match="Input/output error"):
            read_stack(header, range(7))
    assert len(calls) == n_read


@pytest.mark.parametrize("mode", [2, 12])
def test_stack_is_streamed_and_valid(tmp_path, rng, mode):
    data = rng.normal(0, 1, (5, 4, 4)).astype(MODES[mode])
    path = tmp_path / "a.mrcs"
    assert write_stack(path, iter([data[:2], data[2], data[3:]]), (4, 4), 2.2, mode=mode) == 5
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, data)
        assert file.is_image_stack()
    assert read_header(path).pixel_size == 2.2
    with pytest.raises(ValueError, match=r"expected shape \(4, 4\), got \(5, 4\)"):
        write_stack(path, [np.zeros((1, 5, 4))], (4, 4), 2.2)
    assert os.listdir(tmp_path) == ["a.mrcs"]
    assert read_header(path).nz == 5


def test_blocks_larger_than_a_piece_are_written_whole(tmp_path, rng):
    data = rng.standard_normal((5, 200, 201), dtype=np.float32)
    assert data[:3].nbytes > mrc_stacks._WRITE_BYTES
    write_stack(tmp_path / "a.mrcs", [data[:3], data[3:]], data.shape[1:], 1.0)
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "a.mrcs"), data)


def test_stack_of_nothing_is_refused_on_reading(tmp_path):
    assert write_stack(tmp_path / "a.mrcs", [], (4, 4), 1.0) == 0
    with pytest.raises(InputError):
        read_header(tmp_path / "a.mrcs")
