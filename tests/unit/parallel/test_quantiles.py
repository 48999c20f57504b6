"""Quantiles and spread of dealt values against NumPy's of all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from thread_comm import run_ranks

from pycryo.parallel.comm import SerialComm
from pycryo.parallel.quantiles import deviation, quantiles
from pycryo.parallel.rows import even_bounds

FRACTIONS = (0.0, 0.001, 0.25, 0.5, 0.9, 0.999, 1.0)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def dealt(comm, values):
    """Rows of this rank, each a piece."""
    bounds = even_bounds(len(values), comm.size)
    return list(values[bounds[comm.rank] : bounds[comm.rank + 1]]), bounds


@given(npst.arrays(np.float32, st.integers(1, 40), elements=finite))
def test_quantiles_are_those_of_numpy(values):
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.quantile(values, FRACTIONS)
        found = quantiles(SerialComm(), [values], FRACTIONS)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 9])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 0.0])
def test_any_number_of_ranks_and_values(size, scale, rng):
    """Values of many orders, of neighbouring floats, and equal ones."""
    rows = (3 + scale * rng.standard_normal((7, 900)) * 10.0 ** rng.integers(-3, 4, (7, 900))).astype(np.float32)
    expected = np.quantile(rows, FRACTIONS)
    for found in run_ranks(size, lambda comm: quantiles(comm, dealt(comm, rows)[0], FRACTIONS)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_deviation(size, rng):
    rows = (100 + rng.standard_normal((7, 900))).astype(np.float32)
    found = run_ranks(size, lambda comm: deviation(comm, *dealt(comm, rows)))
    assert set(found) == {deviation(SerialComm(), *dealt(SerialComm(), rows))}
    # Doubles: 6300 values about 100 in another order.
    assert found[0] == pytest.approx(rows.astype(np.float64).std(), rel=1e-12)


def test_deviation_of_nothing_and_of_rows_without_values():
    assert deviation(SerialComm(), [], np.array([0, 0])) == 0
    assert deviation(SerialComm(), [np.zeros(0, np.float32)] * 2, np.array([0, 2])) == 0
    pieces = [np.zeros(0, np.float32), np.array([1, 3], np.float32)]
    assert deviation(SerialComm(), pieces, np.array([0, 2])) == 1
