"""Particles as a .cs file of cryoSPARC with the .csg file by which it imports them as a group of results."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError
from pycryo.geometry.rotations import conjugate, euler_to_quaternion, to_rotation_vector
from pycryo.io.atomic import write_text
from pycryo.io.foreign.cryosparc_optics import Rest, from_relion
from pycryo.io.foreign.structured import write_structured
from pycryo.io.particle_set import MICROGRAPH_LABEL, Particles

_MOST_ODD, _MOST_EVEN = 6, 9
_COORDINATES = ("rlnCoordinateX", "rlnCoordinateY")
_EXPOSURE = re.compile(r"exposureGroup(\d{1,9})")
_SUBTYPES = ("blob", "ctf", "alignments3D", "location")


def write_cryosparc(path: str | os.PathLike[str], particles: Particles, project: Path | None) -> list[str]:
    """Write particles, with the headers of their stacks read, as ``path`` and a .csg file beside it.

    Parameters
    ----------
    path : path
        The .cs file.
    particles : Particles
        With a CTF.
    project : Path, optional
        Folder of the cryoSPARC project: the names of the stacks are relative to it, absolute where it is not given.

    Returns
    -------
    list of str
        What cryoSPARC has no field for, one sentence each.

    Raises
    ------
    InputError
        If the particles lack what cryoSPARC needs, or have an aberration that it cannot state.
    """
    path = Path(path)
    order = np.argsort(particles.rows, kind="stable")
    notes: list[str] = []
    columns = _blob(particles, project) | _ctf(particles) | _alignments(particles, notes) | _location(particles, notes)
    _write(path, {name: values[order] for name, values in columns.items()})
    write_text(path.with_suffix(".csg"), _group_text(path, columns, particles.n))
    return notes


def _write(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    kinds = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
    table = np.zeros(len(next(iter(columns.values()))), np.dtype(kinds))
    for name, values in columns.items():
        table[name] = values
    write_structured(path, table)


def _blob(particles: Particles, project: Path | None) -> dict[str, NDArray[Any]]:
    """Names of the images and what they are."""
    names = [str(stack.absolute()) for stack in particles.stacks]
    if project is not None:
        root = os.path.realpath(project)
        real = [os.path.join(os.path.realpath(stack.parent), stack.name) for stack in particles.stacks]
        names = [os.path.relpath(name, root).replace(os.sep, "/") for name in real]
        if outside := next((name for name in names if posixpath.normpath(name).startswith("..")), None):
            raise InputError(f"the stack {outside} is not within --project-dir {project}; link it there")
    texts = np.array([os.fsencode(name) for name in names])[particles.stack]
    shape = particles.optics.box[particles.optics_group]
    return {
        "uid": _uids(texts, particles.image_index),
        "blob/path": texts,
        "blob/idx": particles.image_index.astype(np.uint32),
        "blob/shape": np.stack([shape, shape], axis=1).astype(np.uint32),
        "blob/psize_A": particles.pixel_size.astype(np.float32),
        "blob/sign": np.ones(particles.n, np.float32),
        "blob/import_sig": np.zeros(particles.n, np.uint64),
    }


def _uids(stacks: NDArray[Any], index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Of each row, the same for the same set: by image, and for further rows of one image by their count."""
    used: set[int] = set()
    found = []
    for stack, number in zip(stacks.tolist(), index.tolist(), strict=True):
        copy = 0
        while True:
            digest = hashlib.blake2b(b"%d@%d@%b" % (copy, number, stack), digest_size=8).digest()
            if (uid := int.from_bytes(digest, "little")) not in used:
                break
            copy += 1
        used.add(uid)
        found.append(uid)
    return np.array(found, np.uint64)


def _ctf(particles: Particles) -> dict[str, NDArray[Any]]:
    particles.require_ctf()
    optics, group = particles.optics, particles.optics_group
    found, rest = from_relion(
        _padded(particles.path, optics.odd_zernike, _MOST_ODD, "rlnOddZernike"),
        _padded(particles.path, optics.even_zernike, _MOST_EVEN, "rlnEvenZernike"),
        optics.beam_tilt,
        optics.magnification,
        np.stack([optics.voltage, optics.spherical_aberration], axis=1),
    )
    for flags, label in (
        (optics.is_premultiplied, "premultiplied"),
        (optics.is_phase_flipped, "phase-flipped"),
    ):
        if flags.any():
            raise InputError(
                f"{particles.path}: cryoSPARC has no field for {label} images; export them without by --ignore-optics "
                f"{label} and tell it there"
            )
    u, v, angle = _defoci(particles, rest)
    of_groups = {
        "exp_group_id": _exposure_groups(particles),
        "accel_kv": optics.voltage,
        "cs_mm": optics.spherical_aberration + rest.cs,
        "amp_contrast": optics.amplitude_contrast,
        "shift_A": found.shift,
        "tilt_A": found.tilt,
        "trefoil_A": found.trefoil,
        "tetra_A": found.tetra,
        "anisomag": found.anisomag,
    }
    own: dict[str, ArrayLike] = {
        "df1_A": u,
        "df2_A": v,
        "df_angle_rad": angle,
        "phase_shift_rad": np.deg2rad(particles.phase_shift) + rest.phase_shift[group],
        "scale": particles.ctf_scale,
        "scale_const": np.zeros(particles.n),
        "bfactor": particles.ctf_b_factor,
    }
    columns: dict[str, NDArray[Any]] = {"ctf/type": np.full(particles.n, b"imported")}
    columns |= {f"ctf/{name}": _single(np.asarray(values)[group]) for name, values in of_groups.items()}
    return columns | {f"ctf/{name}": _single(np.asarray(values)) for name, values in own.items()}


def _exposure_groups(particles: Particles) -> NDArray[np.uint32]:
    """Numbers (g,): those that cryoSPARC gave them, if all are its, or those of the optics groups."""
    found = [_EXPOSURE.fullmatch(name) for name in particles.optics.name]
    numbers = [int(each[1]) for each in found if each]
    if len(set(numbers)) == len(found):
        return np.array(numbers, np.uint32)
    return particles.optics.number.astype(np.uint32)


def _single(values: NDArray[Any]) -> NDArray[Any]:
    """Floats as float32, as cryoSPARC has them."""
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def _padded(path: Path, lists: tuple[tuple[float, ...], ...], most: int, label: str) -> NDArray[np.float64]:
    """Coefficients (g, most)."""
    if any(any(each[most:]) for each in lists):
        kind = "odd-zernike" if most == _MOST_ODD else "even-zernike"
        raise InputError(
            f"{path}: cryoSPARC has no field for the coefficients of {label} beyond the {most}th; export without by "
            f"--ignore-optics {kind}"
        )
    found = np.zeros((len(lists), most))
    for row, each in enumerate(lists):
        found[row, : len(each[:most])] = each[:most]
    return found


def _defoci(particles: Particles, rest: Rest) -> tuple[NDArray[np.float64], ...]:
    """Defoci (Å) and angle (radians) with the group's share of the even coefficients."""
    group = particles.optics_group
    u, v, angle = particles.defocus_u, particles.defocus_v, np.deg2rad(particles.defocus_angle)
    if not any(each.any() for each in (rest.defocus, rest.along, rest.across)):
        return u, v, angle
    mean, half = (u + v) / 2 + rest.defocus[group], (u - v) / 2
    along, across = half * np.cos(2 * angle) + rest.along[group], half * np.sin(2 * angle) + rest.across[group]
    half = np.hypot(along, across)
    return mean + half, mean - half, np.arctan2(across, along) / 2


def _alignments(particles: Particles, notes: list[str]) -> dict[str, NDArray[Any]]:
    if not particles.has_poses:
        notes.append(f"{particles.path} has no poses: no alignments3D are written")
        return {}
    vector = to_rotation_vector(conjugate(euler_to_quaternion(particles.rot, particles.tilt, particles.psi)))
    origin = np.stack([particles.origin_x, particles.origin_y], axis=1)
    if not particles.random_subset.all():
        notes.append(f"{particles.path} has no half-sets of all particles: alignments3D/split of the others is 0")
    zeros = np.zeros(particles.n)
    columns: dict[str, NDArray[Any]] = {
        "split": np.maximum(particles.random_subset - 1, 0).astype(np.uint32),
        "shift": _single(origin / particles.pixel_size[:, None]),
        "pose": _single(vector),
        "psize_A": _single(particles.pixel_size),
        **{name: _single(zeros) for name in ("error", "error_min", "resid_pow", "slice_pow", "image_pow", "cross_cor")},
        "alpha": _single(zeros + 1),
        "alpha_min": _single(zeros),
        **{name: _single(zeros) for name in ("weight", "pose_ess", "shift_ess")},
        "class_posterior": _single(zeros + 1),
        "class": np.maximum(particles.class_number - 1, 0).astype(np.uint32),
        "class_ess": _single(zeros + 1),
    }
    return {f"alignments3D/{name}": values for name, values in columns.items()}


def _location(particles: Particles, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Names of micrographs; places in them need their size, which a STAR file of particles does not have."""
    columns = particles.table.columns
    if MICROGRAPH_LABEL not in columns:
        return {}
    names = particles.table.values(texts=[MICROGRAPH_LABEL])[MICROGRAPH_LABEL][particles.rows].tolist()
    texts = np.array([os.fsencode(name) for name in names])
    number = {
        name: int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") for name in set(texts.tolist())
    }
    if any(label in columns for label in _COORDINATES):
        notes.append(
            f"{particles.path}: coordinates in micrographs are left out: cryoSPARC has them as parts of the "
            "micrograph, whose size the file does not tell"
        )
    return {
        "location/micrograph_uid": np.array([number[name] for name in texts.tolist()], np.uint64),
        "location/micrograph_path": texts,
    }


def _group_text(path: Path, columns: dict[str, NDArray[Any]], n: int) -> str:
    """The .csg file: which results the .cs file holds."""
    prefixes = {name.split("/")[0] for name in columns}
    lines = [f"created: {time.strftime('%Y-%m-%d %H:%M:%S')}"]
    lines += ["group:", "  description: particles exported by pycryo", "  name: particles", "  title: particles"]
    lines += ["  type: particle", "results:"]
    for kind in _SUBTYPES:
        if kind in prefixes:
            lines += [
                f"  {kind}:",
                f"    metafile: '>{path.name}'",
                f"    num_items: {n}",
                f"    type: particle.{kind}",
            ]
    return "\n".join([*lines, "version: v4.4.1", ""])
