"""Local resolution on MPI ranks: the same to the last bit as on one."""

from __future__ import annotations

import numpy as np
import pytest
from halves_of_two import sharp_ends

from pycryo.maps.density import Map, soft_sphere
from pycryo.maps.slab_map import from_map, gather
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world
from pycryo.postprocessing.local_figures import LocalSections
from pycryo.postprocessing.local_filter import locally_filtered
from pycryo.postprocessing.local_resolution import LocalOptions, local_resolution

BOX, PIXEL = 36, 3.0


def results(comm, threads):
    """Figures, the two maps on rank 0, and the sections."""
    maps = [*sharp_ends(BOX, PIXEL, (8.0, 12.0), 10), soft_sphere(BOX, 11, 3)]
    first, second, mask = (from_map(comm, Map(each, PIXEL)).data for each in maps)
    found = local_resolution(first, second, PIXEL, mask, LocalOptions(window=27.0), comm=comm, threads=threads)
    filtered = locally_filtered(first, second, found.resolution, found.window, -50.0, comm=comm, threads=threads)
    sections = LocalSections.of(found, filtered)
    return found, [gather(found.resolution), gather(filtered)], sections


@pytest.mark.parallel([2, 3])
def test_ranks_change_no_bit():
    comm = world()
    found, maps, sections = results(comm, 2)
    alone, expected, own_sections = results(SerialComm(), 1)
    np.testing.assert_array_equal(found.quantiles, alone.quantiles)
    np.testing.assert_array_equal(found.counts, alone.counts)
    np.testing.assert_array_equal(sections.resolution, own_sections.resolution)
    np.testing.assert_array_equal(sections.density, own_sections.density)
    if comm.rank == 0:
        for each, other in zip(maps, expected, strict=True):
            np.testing.assert_array_equal(each.data, other.data)
