"""Three ranks on a belt that never ends, one of which goes (for test_conveyor_ranks.py)."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np

from pycryo.cli.session import guarded
from pycryo.errors import RunError
from pycryo.parallel.conveyor import make_belt
from pycryo.parallel.world import world


def main(how: str) -> int:
    comm = world()

    def make(first: int, last: int, out: np.ndarray) -> None:
        out[:] = first

    def work() -> None:
        belt = make_belt("conveyor", comm, 10**6, (1000,), make, block=100)
        for number, _ in enumerate(belt.blocks()):
            if number == 2:
                print(f"rank {comm.rank} is in the ring", flush=True)
            if number == 50 and comm.rank == 1:
                if how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if how == "exit":
                    os._exit(3)
                raise RunError("rank 1 has lost its slices")
            if number == 50 and comm.rank == 2 and how == "raise twice":
                raise RunError("rank 2 has lost its slices")
        print("reached the end", flush=True)

    return guarded(comm, "test", work)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
