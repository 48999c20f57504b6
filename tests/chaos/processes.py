"""Refinements as processes: started under a launcher or alone, found among all processes of the machine, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

_MARK = "PYCRYO_CHAOS_RUN"
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
# Of one process, so that a run inherits nothing of a launcher around it.
_FOREIGN = ("PMI", "HYDI", "MPI", "OMPI", "PMIX", "PRTE")


@dataclass(slots=True)
class Run:
    """A command on some ranks; its processes are known by a word in their environment.

    Attributes
    ----------
    words : list of str
        After ``pycryo``.
    size : int
        Ranks; one is started without a launcher.
    output : Path
        A file for what it prints.
    extra : dict of str to str
        More of the environment.
    launcher : Path
        mpiexec.
    """

    words: list[str]
    size: int
    output: Path
    extra: dict[str, str] = field(default_factory=dict)
    launcher: Path = field(default_factory=lambda: Path(sys.executable).with_name("mpiexec"))
    process: subprocess.Popen[bytes] = field(init=False)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    ranks: dict[int, int] = field(default_factory=dict)

    def start(self, file_limit: int | None = None) -> None:
        """Start it; `file_limit` is the largest file in bytes that it may write."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        launcher = [] if self.size == 1 else [str(self.launcher), "-n", str(self.size)]
        limit = [] if file_limit is None else ["prlimit", f"--fsize={file_limit}"]
        with self.output.open("wb") as stream:
            self.process = subprocess.Popen(
                [*limit, *launcher, sys.executable, "-m", "pycryo.cli.main", *self.words],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=inherited | self.extra | {_MARK: self.mark},
            )

    def is_running(self) -> bool:
        return self.process.poll() is None

    def find_ranks(self) -> None:
        """Wait until every rank has begun, or the run has ended."""
        while self.is_running() and len(self.ranks) < self.size:
            if self.size == 1:
                self.ranks = {0: self.process.pid}
            else:
                self.ranks = {rank: number for number, rank in self.alive().items() if rank is not None}
            time.sleep(0.002)

    def alive(self) -> dict[int, int | None]:
        """Process -> rank (None: of the launcher) of all that have not ended."""
        found: dict[int, int | None] = {}
        for number in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path("/proc", number, "environ").read_bytes().split(b"\0")
                if f"{_MARK}={self.mark}".encode() not in words:
                    continue
                state = Path("/proc", number, "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state != "Z":
                pairs = dict(word.decode(errors="replace").split("=", 1) for word in words if b"=" in word)
                found[int(number)] = next((int(pairs[name]) for name in _RANKS if name in pairs), None)
        return found

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a rank, if it is still there."""
        if rank in self.ranks:
            try:
                os.kill(self.ranks[rank], number)
            except ProcessLookupError:
                return

    def wait(self, seconds: float, grace: float) -> tuple[int | None, list[str]]:
        """Wait for the end; whatever is left is killed.

        Returns
        -------
        int or None
            Exit code; None if it did not end within `seconds`.
        list of str
            What is wrong: it hangs, or some processes live on for more than `grace` seconds.
        """
        code: int | None = None
        wrong = []
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            wrong.append(f"it hangs: {len(self.alive())} processes after {seconds:.0f} s")
        end = time.monotonic() + grace
        while not wrong and self.alive():
            if time.monotonic() > end:
                wrong.append(f"{len(self.alive())} processes live on after {grace:.0f} s")
            time.sleep(0.05)
        for left in self.alive():
            try:
                os.kill(left, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        return code, wrong

    def told(self) -> list[str]:
        """Lines printed."""
        return self.output.read_text("utf-8", "replace").splitlines()
