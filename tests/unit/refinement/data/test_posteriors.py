"""Posteriors between iterations."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from pycryo.filter.support import Posterior, Support
from pycryo.refinement.data.posteriors import COLUMNS, as_columns, of_columns, with_file_defocus


def test_the_files_defoci_take_the_place_of_those_found(rng):
    """Nothing else of the posteriors changes, nor do those that are given."""
    n, m = 5, 3
    support = Support(
        rng.random((n, m, 4)), rng.random((n, m, 2)), rng.random((n, m)), rng.integers(0, 2, (n, m)).astype(np.int32)
    )
    rest = {field.name: rng.random(n) for field in fields(Posterior)[1:]}
    posterior, rows = Posterior(support, **rest), np.array([3, 9, 4, 1, 2])
    found_rows, found = with_file_defocus((rows, posterior))
    assert found_rows is rows
    assert found.support is support
    for name, values in rest.items():
        if name in ("defocus_change", "spread_defocus"):
            np.testing.assert_array_equal(getattr(found, name), np.zeros(n))
            assert (getattr(posterior, name) > 0).all()
        else:
            assert getattr(found, name) is values
    assert with_file_defocus(None) is None
    columns = as_columns(posterior)
    assert tuple(columns) == COLUMNS
    again = of_columns(columns)
    assert all(getattr(again, name) is values for name, values in rest.items())
    assert all(getattr(again.support, each.name) is getattr(support, each.name) for each in fields(Support))
