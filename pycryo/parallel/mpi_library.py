"""Which MPI library and launcher are here, and whether they belong together."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pycryo.parallel.launcher import launched_size

_PATIENCE = 10  # seconds for `mpiexec --version`
# Words in the versions that libraries and launchers state -> families that can talk to each other.
_FAMILIES = (
    ("open mpi", "Open MPI"),
    ("openrte", "Open MPI"),
    ("prrte", "Open MPI"),
    ("intel(r) mpi", "Intel MPI"),
    ("mpich", "MPICH"),
    ("hydra", "MPICH"),
)
_COMPATIBLE = ({"MPICH", "Intel MPI"},)  # one binary interface
_INSTALL = "pip install 'pycryo[mpich]'"


@dataclass(frozen=True, slots=True)
class MpiReport:
    """What `inspect_mpi` found; empty strings where there is nothing.

    Attributes
    ----------
    mpi4py : str
        Version.
    library : str
        First line of the MPI library's version, or why it cannot be loaded.
    mpiexec : str
        Path of the launcher that a shell would find.
    launcher : str
        Family of that launcher: MPICH, Open MPI, Intel MPI.
    works : bool
        Whether ``mpiexec -n N pycryo refine`` should work.
    advice : str
        What that means, and what to do if it does not work.
    """

    mpi4py: str
    library: str
    mpiexec: str
    launcher: str
    works: bool
    advice: str


def inspect_mpi() -> MpiReport:
    """Look at mpi4py, its MPI library and the launcher on the PATH. Not collective; MPI is not started."""
    mpiexec = shutil.which("mpiexec") or ""
    launcher = _launcher_family(mpiexec) if mpiexec else ""
    version, library, is_usable = _library()
    works, advice = _verdict(version, library, is_usable, mpiexec, launcher)
    return MpiReport(version, library, mpiexec, launcher, works, advice)


def family(text: str) -> str:
    """Family of an MPI library or launcher, from what it says of itself; empty if unknown."""
    text = text.lower()
    return next((name for word, name in _FAMILIES if word in text), "")


def _launcher_family(mpiexec: str) -> str:
    """What ``mpiexec --version`` says; not asked from inside a run, where it may hang."""
    if launched_size() is not None:
        return ""
    try:
        answer = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return family(answer.stdout + answer.stderr)


def _library() -> tuple[str, str, bool]:
    """Version of mpi4py, first line of the library's version or of the error, and whether it loads."""
    if importlib.util.find_spec("mpi4py") is None:
        return "", "", False
    version = importlib.metadata.version("mpi4py")
    import mpi4py

    before = mpi4py.rc.initialize
    if launched_size() is None:
        mpi4py.rc.initialize = False  # asking for the version must not start MPI
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return version, str(error).splitlines()[0], False
    finally:
        mpi4py.rc.initialize = before
    return version, " ".join(MPI.Get_library_version().splitlines()[0].strip("\0").split()), True


def _verdict(version: str, library: str, is_usable: bool, mpiexec: str, launcher: str) -> tuple[bool, str]:
    own = Path(sys.prefix) / "bin" / "mpiexec"
    if not version:
        return False, f"without mpi4py pycryo runs as one process; for several: {_INSTALL}"
    if not is_usable:
        return False, f"mpi4py cannot load an MPI library; install one: {_INSTALL}, or load your cluster's MPI module"
    if not mpiexec:
        if own.is_file():
            return False, f"mpiexec is not on the PATH; activate the environment, or start {own}"
        return False, f"there is no mpiexec; load your cluster's MPI module, or: {_INSTALL}"
    ours = family(library)
    same = launcher == ours or any({launcher, ours} <= group for group in _COMPATIBLE)
    if launcher and ours and not same:
        use = f"start {own}" if own.is_file() else f"start the mpiexec of {ours}"
        return False, (
            f"{mpiexec} is of {launcher}, but mpi4py uses {ours}: each of its processes would run alone; {use}"
        )
    if own.is_file() and not os.path.samefile(own, mpiexec):
        return (
            True,
            f"{mpiexec} comes before the environment's {own}; if its ranks do not find each other, use the latter",
        )
    return True, f"mpiexec and mpi4py are both {ours or 'of one kind'}"
