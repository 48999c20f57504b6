"""Ranks that agree on how the work of all of them ended."""

import pytest
from thread_comm import run_ranks

from pycryo.errors import InputError, RunError
from pycryo.parallel.collective_errors import on_all


@pytest.mark.parametrize("size", [1, 3])
def test_each_rank_has_its_own_result(size):
    assert run_ranks(size, lambda comm: on_all(comm, lambda: 10 * comm.rank)) == [10 * rank for rank in range(size)]


@pytest.mark.parametrize(
    "errors, kinds, words",
    [
        ({1: InputError("bad file")}, [InputError] * 3, ["bad file"] * 3),
        ({0: RunError("full"), 2: InputError("bad")}, [RunError, RunError, InputError], ["full", "full", "bad"]),
        ({2: KeyError("why")}, [RunError, RunError, KeyError], ["why"] * 3),
    ],
)
def test_one_failure_is_that_of_all(errors, kinds, words):
    def work(comm):
        def fail():
            if comm.rank in errors:
                raise errors[comm.rank]

        with pytest.raises(kinds[comm.rank], match=words[comm.rank]) as caught:
            on_all(comm, fail)
        return type(caught.value)

    assert run_ranks(3, work) == kinds
