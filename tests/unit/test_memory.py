"""How Python looks after memory."""

import gc

import pytest

from pycryo.memory import without_collections


@pytest.mark.parametrize("is_enabled", [True, False])
def test_collections_are_left_out_and_then_as_before(is_enabled):
    def fail():
        with without_collections():
            assert not gc.isenabled()
            raise KeyError

    before = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        with pytest.raises(KeyError):
            fail()
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if before else gc.disable)()
