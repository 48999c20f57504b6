"""The schedule of the conveyor belt."""

import importlib.util
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycryo.parallel import belt_plan as belt_module
from pycryo.parallel.belt_plan import plan_belt

SHARES = st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=9).map(tuple)


@given(n_item=st.integers(0, 3000), shares=SHARES, block=st.integers(1, 700), grain=st.sampled_from([1, 7, 32]))
def test_blocks_cover_all_items_once(n_item, shares, block, grain):
    plan = plan_belt(n_item, shares, block, grain)
    end = 0
    for first, last in plan.parts():
        assert first == end
        assert last >= first
        assert first % grain == 0 or first == n_item
        # A share is rounded to the nearest grain, a round to the next: a grain more at either end.
        assert last - first <= 1.5 * max(block, grain) + 2 * grain
        end = last
    assert end == n_item


@given(n_item=st.integers(1, 5000), shares=SHARES)
def test_every_rank_makes_its_share(n_item, shares):
    plan = plan_belt(n_item, shares, 64, 1)
    for rank, share in enumerate(shares):
        made = sum(last - first for first, last in (plan.part(k, rank) for k in range(plan.n_round)))
        # Each bound is rounded by at most 1/2 in each round.
        assert abs(made - n_item * share / sum(shares)) <= plan.n_round


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_every_block_passes_every_rank_and_comes_from_the_left(n):
    plan = plan_belt(1000, (1.0,) * n, 50)
    for rank in range(n):
        assert sorted(plan.owner(rank, step) for step in range(n)) == list(range(n))
        assert plan.owner(rank, 0) == rank
        for step in range(1, n):
            assert plan.owner(rank, step) == plan.owner((rank - 1) % n, step - 1)


@pytest.mark.parametrize(
    "n_item, shares, block, grain", [(-1, (1.0,), 1, 1), (1, (), 1, 1), (1, (0.0,), 1, 1), (1, (1.0,), 0, 1)]
)
def test_refuses_what_has_no_schedule(n_item, shares, block, grain):
    with pytest.raises(ValueError, match="plan_belt"):
        plan_belt(n_item, shares, block, grain)


def test_needs_nothing_but_python():
    """Simulators load the file by itself, under a Python without NumPy."""
    spec = importlib.util.find_spec(belt_module.__name__)
    code = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('belt', sys.argv[1]); "
        "module = importlib.util.module_from_spec(spec); sys.modules['belt'] = module; "
        "spec.loader.exec_module(module); "
        "assert 'numpy' not in sys.modules; print(module.plan_belt(10, (1, 1), 2).n_round)"
    )
    done = subprocess.run([sys.executable, "-c", code, spec.origin], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"  # 5 items each, in blocks of about 2
