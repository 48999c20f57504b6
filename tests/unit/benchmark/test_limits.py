"""Limits of the machine, each once."""

import pytest

from pycryo.benchmark import limits


@pytest.mark.parametrize(
    "prepare",
    [
        lambda: limits.sgemm_peak(8),
        lambda: limits.copy_bandwidth(1000),
        lambda: limits.gather_rate(8, 8, 100),
        lambda: limits.gather_rate(64, 8, 100),
        lambda: limits.fft_rate(8),
        lambda: limits.disk_read(size=1000),
    ],
)
def test_every_limit_runs(prepare):
    limit = prepare()
    limit.run()
    assert limit.name in limits.LIMITS
    assert limit.work > 0
