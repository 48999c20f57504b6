"""Communicators without ranks: the serial one, and what tells that a launcher and mpi4py do not belong together."""

from __future__ import annotations

import os
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from thread_comm import ThreadComm, run_ranks

from pycryo.errors import RunError
from pycryo.parallel import launcher as launcher_module
from pycryo.parallel import mpi as mpi_module
from pycryo.parallel import world as world_module
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.launcher import choose_windows, launched_size, yield_cores
from pycryo.parallel.mpi import MpiComm
from pycryo.parallel.world import as_comm, is_one_node, world

VARIABLES = (*launcher_module._SIZE_VARIABLES, *launcher_module._RANK_VARIABLES, *launcher_module._NODE_SIZE_VARIABLES)
NAPS = "MPIR_CVAR_ENABLE_HEAVY_YIELD"


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """As if started by hand, even where the tests themselves run under mpiexec."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def pretend_mpi4py(monkeypatch, size: int) -> SimpleNamespace:
    """Put a module in the place of mpi4py whose world has `size` ranks."""
    mpi_world = SimpleNamespace(Get_size=lambda: size, Get_rank=lambda: size - 1)
    mpi = SimpleNamespace(COMM_WORLD=mpi_world, Get_library_version=lambda: " Some MPI 1.2.3 \nmore text")
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=mpi))
    return mpi


def pretend_no_mpi4py(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # makes its import an ImportError


# --- SerialComm -------------------------------------------------------------------------------------------------------


def test_serial_is_alone():
    comm = SerialComm()
    assert (comm.rank, comm.size, comm.node()) == (0, 1, comm)


def test_serial_passes_everything_through(rng):
    comm = SerialComm()
    thing = {"a": [1, 2]}
    assert comm.broadcast(thing) is thing
    gathered, everyone = comm.gather(thing), comm.all_gather(thing)
    assert gathered is not None
    assert len(gathered) == len(everyone) == 1
    assert gathered[0] is everyone[0] is thing
    array = rng.standard_normal((3, 4))
    before = array.copy()
    for method in (comm.sum_array, comm.max_array, comm.broadcast_array):
        method(array)
        np.testing.assert_array_equal(array, before)


def test_serial_has_no_partner():
    for method in (SerialComm().send_array, SerialComm().receive_array):
        with pytest.raises(ValueError, match="single process"):
            method(np.zeros(3), 0)


def test_serial_split():
    comm = SerialComm()
    assert comm.split(3) is comm
    assert comm.split(None) is None


def test_serial_abort_ends_with_the_code():
    with pytest.raises(SystemExit) as caught:
        SerialComm().abort(3)
    assert caught.value.code == 3


def test_an_abort_waits_until_the_launcher_has_read_the_message(monkeypatch):
    heard, calls = [], []
    read_end, write_end = os.pipe()
    with open(read_end) as pipe, open(write_end, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(flush=lambda: None, fileno=lambda: -1))
        launcher = threading.Timer(0.1, lambda: heard.append(pipe.readline()))
        comm = SimpleNamespace(
            Get_rank=lambda: 0, Get_size=lambda: 2, Abort=lambda code: calls.append((code, heard.copy()))
        )
        launcher.start()
        stream.write("what went wrong\n")
        MpiComm(comm).abort(3)
        launcher.join()
        monkeypatch.undo()
    assert calls == [(3, ["what went wrong\n"])]


def test_the_two_have_the_same_methods():
    public = {name for name in dir(world_module.Comm) if not name.startswith("_")}
    for kind in (SerialComm, MpiComm):
        assert {name for name in dir(kind) if not name.startswith("_")} == public


# --- the launcher -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables, size",
    [
        ({}, None),
        ({"PMI_SIZE": "4"}, 4),
        ({"PMI_SIZE": "4", "PMI_RANK": "1"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "16"}, 16),
        ({"MV2_COMM_WORLD_SIZE": "3"}, 3),
        ({"PALS_SIZE": "2"}, 2),
        ({"PMIX_RANK": "0"}, 0),
        ({"PMI_RANK": "5"}, 0),
        ({"OMPI_COMM_WORLD_RANK": "0"}, 0),
        ({"PMI_SIZE": "", "PMI_RANK": "0"}, 0),
        ({"PMI_SIZE": "many"}, None),
        ({"SLURM_NTASKS": "8"}, None),  # set in every batch job, also for what is not started by srun
    ],
)
def test_launched_size(monkeypatch, variables, size):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched_size() == size


@pytest.mark.parametrize("ranks, bound, naps", [(2, False, False), (3, False, True), (2, True, False), (3, True, True)])
def test_ranks_that_outnumber_the_cores_take_naps(monkeypatch, ranks, bound, naps):
    """On a node of two cores, to one of which each rank may be bound."""
    monkeypatch.delenv(NAPS, raising=False)
    monkeypatch.setenv("MPI_LOCALNRANKS", str(ranks))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1} if pid or not bound else {0})
    yield_cores()
    assert os.environ.get(NAPS) == ("1" if naps else None)
    monkeypatch.setenv(NAPS, "0")
    yield_cores()
    assert os.environ[NAPS] == "0"  # the user's choice


def test_open_mpi_makes_no_windows_over_ucx(monkeypatch):
    """They print errors where there is no such network; what the user chose stays, and others are left alone."""
    monkeypatch.setattr(os, "environ", {})
    choose_windows()
    assert not os.environ
    os.environ["OMPI_COMM_WORLD_SIZE"] = "2"
    choose_windows()
    name = "OMPI_MCA_osc"
    assert os.environ[name] == "^ucx"
    os.environ[name] = "sm"
    choose_windows()
    assert os.environ[name] == "sm"


def test_world_without_launcher_does_not_import_mpi4py(monkeypatch):
    pretend_no_mpi4py(monkeypatch)
    assert isinstance(world(), SerialComm)


@pytest.mark.parametrize("variables", [{"PMI_SIZE": "1"}, {"PMIX_RANK": "0"}])
@pytest.mark.parametrize("has_mpi4py", [False, True])
def test_world_of_one_process(monkeypatch, variables, has_mpi4py):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if has_mpi4py:
        pretend_mpi4py(monkeypatch, size=1)
    else:
        pretend_no_mpi4py(monkeypatch)
    assert isinstance(world(), SerialComm)


@pytest.mark.parametrize("more", [{}, {"PMIX_RANK": "1"}])
@pytest.mark.parametrize("has_mpi4py", [False, True])
def test_tasks_of_srun_without_mpi_are_refused(monkeypatch, more, has_mpi4py):
    """Each would take itself for the only one, and write into the folder of the others."""
    for name, value in ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"} | more).items():
        monkeypatch.setenv(name, value)
    if has_mpi4py:
        pretend_mpi4py(monkeypatch, size=1)
    else:
        pretend_no_mpi4py(monkeypatch)
    with pytest.raises(RunError, match=r"srun started 4 tasks that cannot talk .*mpiexec -n 4 .*--mpi=pmi2"):
        world()


def test_a_single_task_of_srun_is_welcome(monkeypatch):
    for name, value in {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}.items():
        monkeypatch.setenv(name, value)
    pretend_no_mpi4py(monkeypatch)
    assert isinstance(world(), SerialComm)


@pytest.mark.parametrize("name", launcher_module._SIZE_VARIABLES)
def test_world_explains_that_mpi4py_is_missing(monkeypatch, name):
    monkeypatch.setenv(name, "3")
    pretend_no_mpi4py(monkeypatch)
    with pytest.raises(RunError, match=r"mpiexec started 3 processes, but mpi4py cannot be used .*pycryo\[mpich\]"):
        world()


def test_world_explains_that_mpi4py_finds_no_library(monkeypatch):
    """The wheel of mpi4py raises RuntimeError where there is no libmpi."""

    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("cannot load MPI library")

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", Broken())
    with pytest.raises(RunError, match="cannot load MPI library"):
        world()


@pytest.mark.parametrize("name", launcher_module._SIZE_VARIABLES)
def test_world_explains_a_foreign_launcher(monkeypatch, name):
    monkeypatch.setenv(name, "4")
    pretend_mpi4py(monkeypatch, size=1)
    with pytest.raises(RunError, match=r"started 4 processes, but each is alone: .*\(Some MPI 1\.2\.3\)"):
        world()


@pytest.mark.parametrize("variables", [{"PMI_SIZE": "2"}, {"PMIX_RANK": "1"}])
def test_world_of_several(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    pretend_mpi4py(monkeypatch, size=2)
    comm = world()
    assert isinstance(comm, MpiComm)
    assert (comm.rank, comm.size) == (1, 2)


# --- as_comm ----------------------------------------------------------------------------------------------------------


def test_as_comm(monkeypatch):
    assert isinstance(as_comm(None), SerialComm)
    serial = SerialComm()
    assert as_comm(serial) is serial
    assert isinstance(as_comm(pretend_mpi4py(monkeypatch, size=1).COMM_WORLD), SerialComm)
    raw = pretend_mpi4py(monkeypatch, size=3).COMM_WORLD
    wrapped = as_comm(raw)
    assert isinstance(wrapped, MpiComm)
    assert (wrapped.rank, wrapped.size) == (2, 3)
    assert as_comm(wrapped) is wrapped


# --- messages of any size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit, size, lengths", [(16, 5, [2, 2, 1]), (16, 4, [2, 2]), (7, 2, [1, 1]), (16, 0, [])])
def test_chunks_cover_the_array(monkeypatch, limit, size, lengths):
    monkeypatch.setattr(mpi_module, "_CHUNK_BYTES", limit)
    array = np.arange(size, dtype=np.float64)
    chunks = MpiComm._chunks(array)
    assert [len(chunk) for chunk in chunks] == lengths
    for chunk in chunks:
        assert chunk.base is not None  # a view: receiving into it fills the array
        chunk += 100
    np.testing.assert_array_equal(array, np.arange(size) + 100)


def test_chunks_of_a_whole_volume_stay_below_32_bits():
    """Arrays beyond 2^31 elements are cut with 64-bit arithmetic; nothing of this one is touched."""
    array = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (3 * 2**31 + 5,), (1,))
    array = np.broadcast_to(array, array.shape)
    lengths = [len(chunk) for chunk in MpiComm._chunks(_Contiguous(array))]
    assert sum(lengths) == 3 * 2**31 + 5
    assert max(lengths) <= 2**30


class _Contiguous:
    """Says of a broadcast array, which takes no memory, that it is contiguous."""

    def __init__(self, array):
        self._array = array
        self.flags = SimpleNamespace(c_contiguous=True)
        self.itemsize = array.itemsize

    def reshape(self, shape):
        assert shape == -1
        return self._array


def test_strided_arrays_are_refused():
    with pytest.raises(ValueError, match="C-contiguous"):
        MpiComm._chunks(np.zeros((4, 4))[:, ::2])


@pytest.mark.parametrize("per_node", [1, 2, 3, 5])
def test_ranks_of_one_node(monkeypatch, per_node):
    monkeypatch.setattr(ThreadComm, "ranks_per_node", per_node)
    assert run_ranks(3, is_one_node) == [per_node >= 3] * 3
    assert is_one_node(SerialComm())


def test_who_waits_long_for_others_naps_longer(monkeypatch):
    """Naps grow with the time waited, here 0.1 s at each look at the clock, up to the longest."""
    naps, clock, looks = [], [0.0], [0]

    def tell():
        clock[0] += 0.1
        return clock[0]

    def test():
        looks[0] += 1
        return looks[0] > mpi_module._SPINS + 20

    monkeypatch.setattr(mpi_module, "time", SimpleNamespace(perf_counter=tell, sleep=naps.append))
    comm = SimpleNamespace(Ibarrier=lambda: SimpleNamespace(Test=test))
    MpiComm(comm).barrier()
    assert looks[0] == mpi_module._SPINS + 21
    assert naps == sorted(naps)
    assert naps[0] == pytest.approx(max(mpi_module._NAP, 0.1 * mpi_module._NAP_SHARE))
    assert naps[-1] == mpi_module._LONGEST_NAP
