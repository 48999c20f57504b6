"""Whether figures are worth recording."""

import pytest

from pycryo.benchmark import environment
from pycryo.benchmark.environment import check_load
from pycryo.errors import RunError


def test_a_busy_machine_is_told(monkeypatch):
    monkeypatch.setattr(environment, "load_average", lambda: 1e6)
    with pytest.raises(RunError, match=r"load average 1000000\.0 is above"):
        check_load(False)
    check_load(True)
    monkeypatch.setattr(environment, "load_average", lambda: 0.0)
    check_load(False)
