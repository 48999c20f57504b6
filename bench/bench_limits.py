"""The limits of this machine that other figures are held against."""

from __future__ import annotations

from pycryo.benchmark.cases import Case
from pycryo.benchmark.limits import LIMITS
from pycryo.benchmark.script import main


def cases() -> list[Case]:
    """One case per limit, without a ratio."""
    limits = [prepare() for prepare in LIMITS.values()]
    return [Case(name=f"limit {limit.name}", run=limit.run, work=limit.work, unit=limit.unit) for limit in limits]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
