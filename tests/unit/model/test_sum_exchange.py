"""Key-values of ranks on their way to the owners of the voxels."""

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.kernels.backprojector import new_accumulators
from pycryo.kernels.keyvalue import KeyValues, add_key_values
from pycryo.model import sum_exchange
from pycryo.model.sum_exchange import KEY_VALUE_BYTES, send_key_values

WHOLE = new_accumulators(12, r_high=4.0).sphere


def key_values(rank: int) -> KeyValues:
    """Multiples of 1/8 in some voxels, none on rank 1."""
    rng = np.random.default_rng(rank)
    key = np.sort(rng.choice(WHOLE.n_voxel, 0 if rank == 1 else 100, replace=False)).astype(np.int64)
    return KeyValues(key, *(rng.integers(-99, 99, (3, len(key))) / 8))


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("message", [1, 7, 1 << 20])
def test_owners_add_what_all_ranks_have(size, message, monkeypatch):
    """All ranks but the last own a slab; the last owns nothing unless it is alone."""
    monkeypatch.setattr(sum_exchange, "_MESSAGE", message)
    bounds = WHOLE.bounds(max(1, size - 1)).tolist()
    bounds += bounds[-1:] * (size > 1)
    slabs = np.array([WHOLE.voxels(0, layer)[1] for layer in bounds])

    def work(comm):
        layers = bounds[comm.rank], bounds[comm.rank + 1]
        own = new_accumulators(12, r_high=4.0, layers=layers) if layers[0] < layers[1] else None
        return own, send_key_values(comm, key_values(comm.rank), slabs, own)

    for rank, (own, n_byte) in enumerate(run_ranks(size, work)):
        key = key_values(rank).key
        others = np.count_nonzero((key < slabs[rank]) | (key >= slabs[rank + 1]))
        assert n_byte == KEY_VALUE_BYTES * others
        if own is None:
            continue
        expected = new_accumulators(12, r_high=4.0, layers=(own.first, own.last))
        for sender in range(size):
            add_key_values(expected, key_values(sender))
        for name in ("re", "im", "weight"):
            np.testing.assert_array_equal(getattr(own, name), getattr(expected, name))
