"""MRC maps against mrcfile, odd and hostile files included."""

import contextlib
import errno
import itertools
import os
import struct
import subprocess
import sys
import warnings

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrc_files import images_of, patched
from thread_comm import run_ranks

from pycryo.errors import InputError, RunError
from pycryo.io import mrc
from pycryo.io.mrc import read_map, write_map, write_map_slabs
from pycryo.io.mrc_header import MODES, read_header
from pycryo.maps.density import Map
from pycryo.maps.slab_map import from_map


@given(st.binary(min_size=0, max_size=1400))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("fuzz") / "a.mrc"
    path.write_bytes(raw)
    with pytest.raises(InputError):  # no valid header in random bytes
        read_map(path)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_headers_never_crash(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "a.mrc"
    write_map(path, np.arange(27, dtype=np.float32).reshape(3, 3, 3), 1.0)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        offset = data.draw(st.integers(0, 55)) * 4
        raw[offset : offset + 4] = struct.pack("<i", data.draw(st.integers(-(2**31), 2**31 - 1)))
    path.write_bytes(raw)
    with contextlib.suppress(InputError):
        assert read_map(path).data.size <= len(raw)


def test_map_round_trip_and_mrcfile_agree(tmp_path, rng):
    path = tmp_path / "map.mrc"
    data = rng.normal(0, 1, (8, 8, 8)).astype(np.float32)
    write_map(path, data, 1.2345)
    again = read_map(path)
    np.testing.assert_array_equal(again.data, data)
    assert (again.pixel_size, again.box) == (1.2345, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, data)
        assert file.is_volume()
        assert file.voxel_size.z == pytest.approx(1.2345, rel=1e-6)
    first = path.read_bytes()
    write_map(path, data, 1.2345)
    assert path.read_bytes() == first


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 1, 2), (2, 1, 3), (3, 2, 1), (2, 3, 1), (1, 3, 2)])
def test_axis_orders(tmp_path, rng, axes):
    data = rng.normal(0, 1, (4, 4, 4)).astype(np.float32)  # [z, y, x]
    by_axis = data.transpose(2, 1, 0)  # [x, y, z]
    columns, rows, sections = (axis - 1 for axis in axes)
    write_map(tmp_path / "a.mrc", by_axis.transpose(sections, rows, columns), 1.0)
    patched(tmp_path / "a.mrc", mapc=axes[0], mapr=axes[1], maps=axes[2])
    np.testing.assert_array_equal(read_map(tmp_path / "a.mrc").data, data)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda d: d[:-1], "is 6 × 6 × 5 voxels; pad or crop it to a cube"),
        (lambda d: np.where(d == d.max(), np.nan, d), "NaN or infinite"),
        (lambda d: np.where(d == d.max(), np.inf, d), "NaN or infinite"),
        (lambda d: 0 * d, "same value 0 in all voxels"),
    ],
)
def test_bad_maps(tmp_path, rng, change, words):
    path = tmp_path / "a.mrc"
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        write_map(path, change(rng.normal(0, 1, (6, 6, 6)).astype(np.float32)), 1.0)
    with pytest.raises(InputError, match=words):
        read_map(path)


def test_missing_and_unequal_pixel_size(tmp_path, rng):
    path = tmp_path / "a.mrc"
    data = rng.normal(0, 1, (6, 6, 6)).astype(np.float32)
    write_map(path, data, 1.0)
    patched(path, mx=0, my=0, mz=0)
    with pytest.raises(InputError, match="no pixel size in its header; set it first"):
        read_map(path)
    assert read_map(path, pixel_size=1.3).pixel_size == 1.3
    write_map(path, data, 1.0)
    patched(path, mz=3)
    with pytest.raises(InputError, match="pixel sizes 1, 1, 2 Å; resample"):
        read_map(path)


def maintainers_maps(shared):
    """Maps with their pixel sizes (Å), one that is no cube, its size in words and the length of its header."""
    folder = shared / "data" / "maps"
    sizes = {
        "EMD-3197.map": 11.4,
        "betagal_relion_tutorial.mrc": 3.54,
        "emd_1997_groel.map": 2.02,
        "ribo80s_emd_3883_8.66A_64.mrc": 8.66,
    }
    return {folder / name: size for name, size in sizes.items()}, folder / "EMD-3001.map", "73 × 43 × 25", 1184


def own_maps(folder, rng):
    """The same of maps that mrcfile wrote with what other programs put into headers."""
    sizes = {}
    headers = [  # mode, bytes of the extended header, first voxel, origin (Å)
        (2, 0, (0, 0, 0), (0, 0, 0)),
        (2, 240, (-8, -8, -8), (0, 0, 0)),
        (1, 0, (5, 6, 7), (10.5, -3, 2)),
        (0, 80, (0, 0, 0), (-20, -20, -20)),
        (6, 0, (0, 0, 0), (0, 0, 0)),
        (12, 1600, (-1, -1, -1), (0, 0, 0)),
    ]
    for i, (mode, extended, start, origin) in enumerate(headers):
        path, size = folder / f"{i}.map", 0.5 + 1.27 * i
        with mrcfile.new(path) as file:
            file.set_data(images_of(MODES[mode], rng, (12, 12, 12)))
            file.voxel_size, file.nstart = size, start
            file.header.origin = origin
            file.header.nlabl, file.header.label[0] = 1, "made by a test"
            file.set_extended_header(np.zeros(extended, "V1"))
        sizes[path] = size
    with mrcfile.new(folder / "odd.map") as file:
        file.set_data(images_of(MODES[2], rng, (5, 8, 13)))
        file.voxel_size = 1.8
        file.set_extended_header(np.frombuffer(b"x" * 160, "V1"))
        file.header.mapc, file.header.mapr, file.header.maps = 3, 1, 2
    return sizes, folder / "odd.map", "13 × 8 × 5", 1184


@pytest.mark.parametrize("source", ["own", pytest.param("maintainers", marks=pytest.mark.maintainers)])
def test_published_maps(source, request, tmp_path, rng):
    own = source == "own"
    sizes, odd, words, offset = own_maps(tmp_path, rng) if own else maintainers_maps(request.getfixturevalue("shared"))
    for path, pixel_size in sizes.items():
        result = read_map(path)
        assert result.pixel_size == pytest.approx(pixel_size, rel=1e-4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mrcfile.open(path, permissive=True) as file:
                np.testing.assert_array_equal(result.data, file.data)
    with pytest.raises(InputError, match=words):
        read_map(odd)
    header = read_header(odd)
    assert (header.axes, header.offset) == ((3, 1, 2), offset)


# --- written by ranks -------------------------------------------------------------------------------------------------


def write_on_ranks(size, path, source, pixel_size=1.2345):
    run_ranks(size, lambda comm: write_map_slabs(path, from_map(comm, Map(source, pixel_size))))


@pytest.mark.parametrize("size", [1, 2, 3, 9])
@pytest.mark.parametrize("box", [1, 6, 7])
def test_ranks_write_the_file_of_one(tmp_path, rng, size, box):
    data = rng.normal(3, 2, (box,) * 3).astype(np.float32)
    (tmp_path / ".a.tmp.mrc").write_bytes(bytes(5000))  # left behind by a killed run, longer than the new file
    write_on_ranks(size, tmp_path / "a.mrc", data)
    write_map(tmp_path / "b.mrc", data, 1.2345)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.mrc", "b.mrc"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mrcfile.validate(tmp_path / "a.mrc")
    with mrcfile.open(tmp_path / "a.mrc") as file:
        np.testing.assert_array_equal(file.data, data)
        # Header fields are float32.
        found = [float(file.header[name]) for name in ("dmin", "dmax", "dmean", "rms")]
        assert found == pytest.approx([data.min(), data.max(), data.mean(), data.std()], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("n_node", [1, 3])
def test_the_end_of_a_map_can_wait(tmp_path, rng, monkeypatch, n_node):
    """Planes written on other nodes than rank 0's are synchronised at once, the rest by what is left for later."""
    data = rng.normal(3, 2, (7, 7, 7)).astype(np.float32)
    kept, synchronised = [], []
    monkeypatch.setattr(os, "fsync", synchronised.append)
    monkeypatch.setattr(mrc, "is_one_node", lambda comm: n_node == 1)
    run_ranks(
        3,
        lambda comm: write_map_slabs(
            tmp_path / "a.mrc", from_map(comm, Map(data, 1.2345)), lambda *both: kept.append(both)
        ),
    )
    assert len(kept) == 1
    assert len(synchronised) == (0 if n_node == 1 else 3)
    assert os.listdir(tmp_path) == [".a.tmp.mrc"]
    kept[0][0]()
    write_map(tmp_path / "b.mrc", data, 1.2345)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.mrc", "b.mrc"]


def test_missing_folder_is_told_on_all_ranks(tmp_path):
    def work(comm):
        with pytest.raises(InputError, match="the folder does not exist"):
            write_map_slabs(tmp_path / "none" / "a.mrc", from_map(comm, Map(np.zeros((4, 4, 4), np.float32), 1.0)))

    run_ranks(3, work)


@pytest.mark.parametrize("code, words", [(errno.ENOSPC, "the disc is full"), (errno.EFBIG, "ulimit -f")])
def test_a_write_that_fails_on_one_rank_fails_on_all(tmp_path, monkeypatch, code, words):
    write_map(tmp_path / "a.mrc", np.ones((6, 6, 6), np.float32), 1.0)
    before = (tmp_path / "a.mrc").read_bytes()

    def refuse(descriptor, view, offset):
        if offset >= 1024 + 5 * 144:
            raise OSError(code, os.strerror(code))
        return real(descriptor, view, offset)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", refuse)

    def work(comm):
        with pytest.raises(RunError, match=words):
            write_map_slabs(tmp_path / "a.mrc", from_map(comm, Map(np.zeros((6, 6, 6), np.float32), 1.0)))

    run_ranks(3, work)
    assert os.listdir(tmp_path) == ["a.mrc"]
    assert (tmp_path / "a.mrc").read_bytes() == before


def test_size_limit_of_the_process(tmp_path):
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "import numpy as np\n"
        "from pycryo.io.mrc import write_map\n"
        f"write_map({str(tmp_path / 'a.mrc')!r}, np.zeros((9, 9, 9), np.float32), 1.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "RunError: cannot write" in done.stderr
    assert "ulimit -f" in done.stderr
    assert os.listdir(tmp_path) == []


def test_offsets_beyond_32_bits_and_short_writes(monkeypatch):
    """The last planes of a map of 1400 px (11 GB), each written in pieces; nothing is written in truth."""
    written = []

    def short(descriptor, view, offset):
        written.append((offset, min(len(view), 3 << 20)))
        return written[-1][1]

    monkeypatch.setattr(os, "pwrite", short)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    plane = np.broadcast_to(np.float32(0.5), (1400, 1400))
    statistics = mrc._write_at(0, np.broadcast_to(plane, (2, 1400, 1400)), 1398, synchronises=True)
    size = 4 * 1400**2
    assert written[0][0] == 1024 + 1398 * size > 2**33
    assert all(a + n == b for (a, n), (b, _) in itertools.pairwise(written))
    assert sum(written[-1]) == 1024 + 1400 * size
    np.testing.assert_array_equal(statistics, [[0.5, 0.5, 0.5 * 1400**2, 0.25 * 1400**2]] * 2)
