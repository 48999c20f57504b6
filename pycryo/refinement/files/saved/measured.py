"""What one pass over all images told, on disc: a run that goes on need not read them all again.

``checkpoint/images.h5`` is written once, when a run begins. It counts for the same images only: names, sizes and times
of the stacks, the particle's diameter. Otherwise, and if it cannot be read, the images are measured again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pycryo.errors import InputError
from pycryo.io.atomic import check_writable_folder
from pycryo.io.particles import Particles
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.image_statistics import ImageStatistics
from pycryo.refinement.data.left_out import LeftOut
from pycryo.refinement.data.outliers import Judged
from pycryo.refinement.files.saved.array_file import Source, read_arrays, refuse_damage, write_arrays
from pycryo.refinement.files.saved.checkpoint import no_interrupt
from pycryo.refinement.files.saved.fingerprint import particle_marks
from pycryo.version import RELEASE

log = logging.getLogger(__name__)

_FORMAT = 1
_PLAIN = ("power", "count", "amplitude", "norm", "particle")
_JUDGED = ("odd", "is_common", "level", "group_level", "twin")


@dataclass(frozen=True, slots=True)
class Measured:
    """The file of a run.

    Parameters
    ----------
    folder : Path
        That of the checkpoint.
    resume : bool
        The run goes on.
    """

    folder: Path
    resume: bool

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / "images.h5"

    def find(self, comm: Comm, particles: Particles, **how: float) -> ImageStatistics | None:
        """What is known of all images, if the run goes on; `how` says how they would be measured. Collective."""
        if not self.resume or not on_root(comm, self.path.is_file):
            return None
        wanted = _marks(particles, how)
        try:
            with read_arrays(comm, self.path) as source:
                # Times of files may look different on other nodes: rank 0 says.
                if not on_root(comm, lambda: _differing(source, wanted)):
                    return _read(source, particles)
                log.debug("%s is of other images or an earlier version: they are measured again", self.path)
        except InputError as error:
            log.info("%s is not used, all images are measured again: %s", self.path, error.__cause__ or error)
        return None

    def keep(self, comm: Comm, particles: Particles, statistics: ImageStatistics, **how: float) -> None:
        """Write what the images told, for `find`. Collective.

        Raises
        ------
        InputError, RunError
            On every rank, if it cannot be written.
        """
        judged, by_reason = statistics.judged, statistics.left_out.by_reason
        assert judged is not None
        header = {**_marks(particles, how), "reasons": list(by_reason), "n_mended": dict(statistics.n_mended)}
        arrays = {name: getattr(statistics, name) for name in _PLAIN}
        arrays |= {f"judged/{name}": getattr(judged, name) for name in _JUDGED}
        arrays["judged/is_common"] = judged.is_common.astype(np.int8)
        arrays |= {f"left_out/{i}": rows for i, rows in enumerate(by_reason.values())}
        on_root(comm, lambda: check_writable_folder(self.folder))
        with no_interrupt(), write_arrays(comm, self.path, header) as sink:
            for name, data in arrays.items():
                sink.write(name, data)


def _marks(particles: Particles, how: Mapping[str, float]) -> dict[str, Any]:
    stamps = [list(header.stamp) for header in particles.headers]
    return {
        "format": _FORMAT,
        "pycryo": RELEASE,
        "particles": particle_marks(particles),
        "stamps": stamps,
        "how": {name: float(value) for name, value in how.items()},
    }


def _differing(source: Source, wanted: Mapping[str, Any]) -> list[str]:
    now = json.loads(json.dumps(wanted))
    return [name for name, value in now.items() if source.header.get(name) != value]


def _read(source: Source, particles: Particles) -> ImageStatistics:
    n, n_group = particles.n, len(particles.optics.box)
    n_shell = int(particles.optics.box.max()) // 2 + 1
    shapes = {"power": (n_group, n_shell), "count": (n_group,), "amplitude": (n_group, n_shell), "norm": (n,)}
    shapes |= {"particle": (n_group, n_shell, 2), "judged/group_level": (n_group,)}
    shapes |= {f"judged/{name}": (n,) for name in ("is_common", "level", "twin")}
    with refuse_damage(source.path):
        reasons, mended = list(source.header["reasons"]), dict(source.header["n_mended"])
        for name, shape in shapes.items():
            if source.layout[name][0] != shape:
                raise ValueError(f"{name} has shape {source.layout[name][0]}, expected {shape}")
        for name in ("judged/odd", *(f"left_out/{i}" for i in range(len(reasons)))):
            if len(source.layout[name][0]) != 1:
                raise ValueError(f"{name} is no list")
    judged = {name: source.read(f"judged/{name}") for name in _JUDGED}
    judged["is_common"] = judged["is_common"].astype(bool)
    left_out = {reason: source.read(f"left_out/{i}") for i, reason in enumerate(reasons)}
    with refuse_damage(source.path):
        for rows in (judged["odd"], judged["twin"], *left_out.values()):
            if rows.dtype.kind != "i" or rows.min(initial=0) < 0 or rows.max(initial=0) >= n:
                raise ValueError("it names particles that are not there")
    return ImageStatistics(
        **{name: source.read(name) for name in _PLAIN},
        left_out=LeftOut(left_out),
        n_mended=mended,
        judged=Judged(**judged),
    )
