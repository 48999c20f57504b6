"""Marks by which a run is recognised when it is continued: its particles, its options, what was made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.particles import Particles
from pycryo.maps.density import Map
from pycryo.maps.slab_map import SlabMap
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.setup import Setup

# What a mark is called in messages -> a value that JSON keeps.
Marks = dict[str, Any]

# Options that change no result, or may be changed on the way; mask and diameter are compared as they were used.
_FREE_OPTIONS = frozenset(
    (
        *("threads", "preread", "scratch", "particles_dir", "max_bad_fraction", "max_iter", "mask", "diameter"),
        *("slices", "ring_size", "memory", "model", "keep_iterations"),
        *("ewald", "ewald_hand"),  # the final iteration alone, which is never in a checkpoint
    )
)
_HASH = "sha256:"


def particle_marks(particles: Particles) -> Marks:
    """Of the images and their CTF, wherever the files lie."""
    optics = particles.optics
    return {
        "number of particles": particles.n,
        "image names": _digest(
            "\0".join(stack.name for stack in particles.stacks), particles.stack, particles.image_index
        ),
        "boxes of the images": optics.box.tolist(),
        "pixel sizes of the images": optics.pixel_size.tolist(),
        "optics groups or CTF values": _digest(
            particles.optics_group,
            *(getattr(optics, name) for name in ("voltage", "spherical_aberration", "amplitude_contrast")),
            *(getattr(optics, name) for name in ("beam_tilt", "magnification", "is_premultiplied", "is_phase_flipped")),
            repr((optics.odd_zernike, optics.even_zernike)),
            *(getattr(particles, name) for name in ("defocus_u", "defocus_v", "defocus_angle", "phase_shift")),
            *(getattr(particles, name) for name in ("ctf_b_factor", "ctf_scale")),
        ),
    }


def option_marks(options: RefineOptions) -> Marks:
    """Of the options that a result depends on."""
    values = asdict(options).items()
    return {f"option {name.replace('_', '-')}": value for name, value in values if name not in _FREE_OPTIONS}


def setup_marks(setup: Setup) -> Marks:
    """Of what images and reference gave before the first iteration. Collective."""
    particles, prior = setup.partition.particles, setup.prior
    poses = [getattr(particles, name) for name in ("rot", "tilt", "psi", "origin_x", "origin_y")]
    poses += [] if prior is None else [prior.quaternion, prior.shift]
    start = {"poses of the particles or their prior": _digest(*poses)} if setup.options.local else {}
    return start | {
        "half-sets or usable images": _digest(setup.partition.half),
        "box": setup.box,
        "pixel size": setup.pixel_size,
        "diameter of the particle": setup.diameter,
        "reference": setup.reference_mark,
        "mask": "made from the maps" if setup.user_mask is None else _map_digest(setup.user_mask),
    }


def header_mark(header: Mapping[str, Any]) -> str:
    """Of a checkpoint's header, as it is written or as it is read: its history has the times of the iterations."""
    return _digest(json.dumps(header))


def maps_mark(sources: Sequence[Map]) -> str:
    """Of maps as they were read; empty for none."""
    return _digest(*(part for each in sources for part in (each.data, str(each.pixel_size)))) if sources else ""


def _map_digest(source: SlabMap) -> str:
    """The same for any number of ranks. Collective."""
    planes = [_digest(plane) for plane in source.data]
    return _digest("".join(each for part in source.comm.all_gather(planes) for each in part))


def refuse_differences(path: Path, before: Mapping[str, Any], now: Marks) -> None:
    """Compare the marks in a checkpoint with those of this run.

    Raises
    ------
    InputError
        Naming the file and every mark that differs.
    """
    differences = []
    for name, value in now.items():
        if before.get(name) != value:
            is_hash = any(str(each).startswith(_HASH) for each in (before.get(name), value))
            differences.append(name if is_hash else f"{name} (was {before.get(name)}, is {value})")
    if differences:
        raise InputError(
            f"the checkpoint {path} is of another run, these differ: {', '.join(differences)}; give the same input and "
            "options as before, or start anew without --continue"
        )


def _digest(*parts: NDArray[Any] | str) -> str:
    found = hashlib.sha256()
    for part in parts:
        data = (
            part.encode("utf-8", "surrogateescape") if isinstance(part, str) else np.ascontiguousarray(part).tobytes()
        )
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return _HASH + found.hexdigest()
