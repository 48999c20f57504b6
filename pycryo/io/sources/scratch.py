"""Stacks copied to a fast disc of each node for the time of a run."""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from pycryo.errors import InputError, RunError
from pycryo.io.atomic import check_writable_folder
from pycryo.io.mrc_header import MrcHeader, stamp_of
from pycryo.io.particles import Particles
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm

logger = logging.getLogger(__name__)

_PREFIX = "pycryo-scratch"
# Left free on the disc: other programs write there, too.
_SPARE = 64 << 20


@contextmanager
def on_scratch(comm: Comm, particles: Particles, folder: str | os.PathLike[str] | None) -> Iterator[Particles]:
    """The same particles, their images read from copies of the stacks in `folder`. Collective.

    Ranks of a node share the copies, which are removed at the end of the block, however it ends, and also if the
    process is killed. Where they do not fit, the node goes on without, with a warning. Names, labels and what is
    written stay those of the original stacks.

    Parameters
    ----------
    comm : Comm
    particles : Particles
        Whose headers were read.
    folder : path or None
        Made on each node if it is not there; None: nothing is copied.

    Raises
    ------
    InputError
        If rank 0 cannot write there; on all ranks.
    """
    if folder is None:
        yield particles
        return
    top = Path(folder).absolute()
    on_root(comm, lambda: _check(top))
    node = comm.node()
    guard: _Guard | None = None
    try:
        copies: dict[int, Path] = {}
        if node.rank == 0:
            guard, copies = _copied(particles, top)
        copies = node.broadcast(copies)
        headers = [
            replace(header, path=copies[number], stamp=stamp_of(os.stat(copies[number])))
            if isinstance(header, MrcHeader) and number in copies
            else header
            for number, header in enumerate(particles.headers)
        ]
        yield replace(particles, headers=tuple(headers)) if copies else particles
        # All have read what they need.
        node.barrier()
    finally:
        if guard is not None:
            guard.release()
    node.free()


def _check(top: Path) -> None:
    try:
        check_writable_folder(top)
    except (InputError, RunError) as error:
        raise InputError(f"--scratch: {top} cannot be written; name a folder on a local disc") from error


class _Guard:
    """A new folder of this process, with a companion that removes it should the process be killed."""

    def __init__(self, top: Path) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{platform.node()}-{os.getpid()}-", dir=top))
        # Its standard input ends when this process does.
        self._companion = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r word; rm -rf -- "$1"', "sh", str(self.path)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def release(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._companion.communicate()


def _copied(particles: Particles, top: Path) -> tuple[_Guard | None, dict[int, Path]]:
    """Copy the stacks that have images: the folder and, by their number, the copies. Nothing, if they do not fit."""
    began = time.perf_counter()
    guard: _Guard | None = None
    used = np.unique(particles.stack).tolist()
    try:
        top.mkdir(parents=True, exist_ok=True)
        _remove_left_over(top)
        on_disc = [number for number in used if isinstance(particles.headers[number], MrcHeader)]
        sources = {number: particles.headers[number].path for number in on_disc}
        need = sum(os.stat(path).st_size for path in sources.values())
        free = shutil.disk_usage(top).free
        if need + _SPARE > free:
            raise OSError(f"they need {need / 1e6:.0f} MB and {_SPARE / 1e6:.0f} MB more, {free / 1e6:.0f} MB are free")
        guard = _Guard(top)
        copies = {number: guard.path / f"{number:06d}.mrcs" for number in on_disc}
        for number, copy in copies.items():
            shutil.copyfile(sources[number], copy)
            found = os.stat(sources[number])
            os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))  # by which their images are known again
    except OSError as error:
        logger.warning("--scratch: the stacks are not copied to %s on %s: %s", top, platform.node(), error)
        if guard is not None:
            guard.release()
        return None, {}
    except BaseException:
        if guard is not None:
            guard.release()
        raise
    logger.info(
        "%d stack(s), %.2f GB, copied to %s in %.1f s", len(copies), need / 1e9, guard.path, time.perf_counter() - began
    )
    return guard, copies


def _remove_left_over(top: Path) -> None:
    """Folders of processes of this machine that were killed together with their companions."""
    pattern = re.compile(rf"{_PREFIX}-{re.escape(platform.node())}-(\d+)-\w+")
    for each in top.iterdir():
        found = pattern.fullmatch(each.name)
        if found is None:
            continue
        try:
            os.kill(int(found[1]), 0)
        except ProcessLookupError:
            logger.info("removed %s, left over by a process that was killed", each)
            shutil.rmtree(each, ignore_errors=True)
        except PermissionError:  # it is there, of another user
            continue
