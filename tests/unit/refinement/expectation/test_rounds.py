"""How many images are searched at a time."""

from dataclasses import replace

import numpy as np
import pytest
from scene import lump, scene

from pycryo import RefineOptions
from pycryo import memory as memory_module
from pycryo.memory import core_cache, memory
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.expectation import rounds as rounds_module
from pycryo.refinement.expectation.rounds import image_bytes, rounds, search_parts
from pycryo.refinement.plan import make_plan
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounds")
    particles, _, start = scene(folder, lump(), 30, snr=0.8, geometries=((20, 5.0), (24, 4.5)))
    setup, first = set_up(SerialComm(), particles, start, None, RefineOptions(ini_high=30.0))
    return setup, make_plan(setup, first_state(setup, first))


@pytest.mark.parametrize("fit, n_round", [(1, 30), (7, 5), (29, 2), (30, 1), (1000, 1)])
def test_every_image_is_in_one_round(prepared, fit, n_round):
    setup, plan = prepared
    setup = replace(setup, memory=fit * image_bytes(setup.partition, plan) * 1.0001)
    parts = list(rounds(setup.partition, setup.owners, plan, setup.memory))
    assert len(parts) == n_round
    for half in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[half] for part in parts]), setup.partition.rows_of(half))
    assert max(len(first) + len(second) for first, second in parts) <= max(fit, 2)


def test_too_little_memory_for_one_image_is_for_one(prepared):
    setup, plan = prepared
    assert len(list(rounds(setup.partition, setup.owners, plan, 1.0))) == 30


def test_bytes_count_samples_and_shifts(prepared):
    setup, plan = prepared
    search = replace(plan.search, coarse=None)
    fewer = replace(search, scan=replace(search.scan, shifts=search.scan.shifts[:1]))
    n_shift = len(search.scan.shifts)
    # Of the geometry with most samples, the larger box: its Fourier px are 20·5/(24·4.5) of the model's.
    n_pixel = np.pi / 2 * (search.scan.r_high * 1.08) ** 2
    all_shifts, one = (image_bytes(setup.partition, replace(plan, search=each)) for each in (search, fewer))
    difference = all_shifts - one
    assert difference == pytest.approx(8 * (n_shift - 1) * n_pixel)


def test_only_images_that_are_kept_need_rounds(prepared):
    """A rank alone inserts at once in the local stage: it reads batch by batch, whatever the memory."""
    setup, plan = prepared
    local = replace(plan, search=None)
    assert len(list(rounds(setup.partition, setup.owners, local, 1.0))) == 1
    # Samples alone: 12 bytes each, of the larger box (its Fourier px are 20·5/(24·4.5) of the model's).
    assert image_bytes(setup.partition, local) == pytest.approx(12 * np.pi / 2 * min(plan.r_insert * 1.08, 12) ** 2)


@pytest.mark.parametrize("n_scanned, most, n_part", [(30, 30, 1), (30, 29, 2), (30, 7, 5), (3, 7, 1), (0, 7, 1)])
def test_a_round_is_searched_in_parts(prepared, monkeypatch, n_scanned, most, n_part):
    monkeypatch.setattr(rounds_module, "MOST_SEARCHED", most)
    partition = prepared[0].partition
    rows = partition.rows_of(0), partition.rows_of(1)
    parts = list(search_parts(partition, rows, n_scanned))
    assert len(parts) == n_part
    for half in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[half] for part in parts]), rows[half])


def test_machine():
    figures = memory()
    assert figures is None or 0 < figures[0] <= figures[1]
    assert 1 << 14 <= core_cache() <= 1 << 30


def test_machine_that_does_not_tell(monkeypatch):
    class Nowhere:
        def __init__(self, path):
            pass

        def read_text(self):
            raise FileNotFoundError

    monkeypatch.setattr(memory_module, "Path", Nowhere)
    assert memory() is None
    assert core_cache() == 1 << 20
