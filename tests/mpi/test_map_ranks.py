"""Maps in planes on MPI ranks: the same to the last bit as on one."""

from __future__ import annotations

import numpy as np
import pytest

from pycryo.errors import InputError
from pycryo.io.mrc import write_map, write_map_slabs
from pycryo.maps.density import Map, soft_sphere
from pycryo.maps.fsc import corrected_fsc
from pycryo.maps.masks import auto_mask
from pycryo.maps.slab_map import SlabMap, from_map, from_root, gather, join_low_resolution, low_pass, resample_grid
from pycryo.model import volume as volume_module
from pycryo.model.volume import shared_volume
from pycryo.parallel import mpi as mpi_module
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world

SIZES = [2, 3]
BOX, PIXEL = 25, 4.0


def half(number: int) -> Map:
    """A ball with noise."""
    noise = np.random.default_rng(number).standard_normal((BOX,) * 3, dtype=np.float32)
    return Map(soft_sphere(BOX, 6, 3) + np.float32(0.2) * noise, PIXEL)


def results(comm, path):
    """What all functions make of two half-maps, each as one array on rank 0."""
    first, second = (from_root(comm, half(number) if comm.rank == 0 else None) for number in (1, 2))
    mask = SlabMap(comm, auto_mask(first, comm=comm), PIXEL)
    found = {
        "mask": mask,
        "filtered": low_pass(first, 12.0),
        "finer": resample_grid(first, 32),
        "coarser": resample_grid(first, 14),
    }
    found["joined"], found["other"] = join_low_resolution(first, second, 3.5)
    arrays = {name: gather(each) for name, each in found.items()}
    fsc = corrected_fsc(first.data, second.data, PIXEL, mask.data, comm=comm)
    write_map_slabs(path, first)
    with shared_volume(comm, first, 40, 2, 9.0) as volume:
        data = volume.data.copy()
    return {name: each.data for name, each in arrays.items() if each is not None}, fsc, data


@pytest.mark.parallel(SIZES)
def test_ranks_change_no_bit(tmp_path, monkeypatch):
    """With messages of one layer, cut into chunks."""
    monkeypatch.setattr(mpi_module, "_CHUNK_BYTES", 1000)
    monkeypatch.setattr(volume_module, "_MESSAGE_BYTES", 5000)
    comm = world()
    assert comm.size in SIZES
    folder = comm.broadcast(tmp_path)
    maps, fsc, volume = results(comm, folder / "ranks.mrc")
    expected, expected_fsc, expected_volume = results(SerialComm(), folder / f"alone{comm.rank}.mrc")
    if comm.rank == 0:
        assert maps.keys() == expected.keys()
    for name, data in maps.items():
        np.testing.assert_array_equal(data, expected[name])
    for name in ("unmasked", "masked", "randomised", "corrected", "power"):
        np.testing.assert_array_equal(getattr(fsc, name), getattr(expected_fsc, name))
    np.testing.assert_array_equal(volume, expected_volume)
    assert (folder / "ranks.mrc").read_bytes() == (folder / f"alone{comm.rank}.mrc").read_bytes()


@pytest.mark.parallel(SIZES)
def test_file_that_cannot_be_written(tmp_path):
    comm = world()
    folder = comm.broadcast(tmp_path)
    with pytest.raises(InputError, match="the folder does not exist"):
        write_map_slabs(folder / "none" / "a.mrc", from_map(comm, half(1)))
    write_map_slabs(folder / "a.mrc", from_map(comm, half(1)))
    comm.barrier()
    write_map(folder / f"b{comm.rank}.mrc", half(1).data, PIXEL)
    assert (folder / "a.mrc").read_bytes() == (folder / f"b{comm.rank}.mrc").read_bytes()
