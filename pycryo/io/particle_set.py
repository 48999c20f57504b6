"""The data of a set of particles, as their STAR file describes it, in the order of their images' names."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import numbers, whole_number
from pycryo.errors import InputError
from pycryo.io.mrc_header import MrcHeader
from pycryo.io.mrc_stacks import read_stack
from pycryo.io.optics import OpticsGroups
from pycryo.io.sources.array_stack import ArrayStack
from pycryo.io.sources.particle_arrays import chosen_rows, fields_of_arrays, new_columns, picked_rows
from pycryo.io.table import Table

if TYPE_CHECKING:
    import pandas as pd

POSE_LABELS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_PIXEL_ORIGINS = ("rlnOriginX", "rlnOriginY")
# Columns of the table -> fields of `Particles`.
_FIELDS = {
    **dict(zip(POSE_LABELS, ("rot", "tilt", "psi"), strict=True)),
    "rlnOriginXAngst": "origin_x",
    "rlnOriginYAngst": "origin_y",
    "rlnRandomSubset": "random_subset",
    "rlnDefocusU": "defocus_u",
    "rlnDefocusV": "defocus_v",
    "rlnDefocusAngle": "defocus_angle",
    "rlnPhaseShift": "phase_shift",
    "rlnClassNumber": "class_number",
}
MICROGRAPH_LABEL = "rlnMicrographName"


@dataclass(frozen=True, slots=True, eq=False)
class Particles:
    """A set of particles as their STAR file describes it; nothing in it changes.

    Attributes
    ----------
    path : Path
        The STAR file.
    tables : mapping of str to Table or dict
        All its tables; `table_name` is the one with the particles, a `Table`.
    table_name : str
    rows : (n,) int64
        Rows of that table that these particles are.
    stacks : tuple of Path
        Files with the images.
    headers : tuple of MrcHeader, or ArrayStack
        Their headers, or the images themselves if they are in memory; empty if they were not read
        (``validate=False``).
    folders : tuple of Path
        Absolute folders from which the image names led to the stacks.
    stack : (n,) int32
        Index into `stacks`.
    image_index : (n,) int64
        0-based index within the stack.
    optics : OpticsGroups
    optics_group : (n,) int32
        0-based index into `optics`.
    optics_table : Table
        data_optics in RELION 3.1's form.
    is_renumbered : bool
        Whether the file has no or other optics groups than `optics`.
    defocus_u, defocus_v : (n,) float64
        Å; 0 where absent.
    defocus_angle, phase_shift : (n,) float64
        Degrees; 0 where absent.
    ctf_b_factor : (n,) float64
        Å²; 0 where absent.
    ctf_scale : (n,) float64
        1 where absent.
    rot, tilt, psi : (n,) float64
        RELION's ZYZ angles, degrees; 0 where absent (see `has_poses`).
    origin_x, origin_y : (n,) float64
        Å: the shift that brings the particle to the centre; 0 where absent.
    random_subset : (n,) int32
        Half-set 1 or 2; 0 where absent, or another number.
    class_number : (n,) int32
        From 1; 1 where absent.
    missing_ctf : tuple of str
        Columns that the CTF needs and the file lacks.
    has_poses : bool
        Whether the file has all three angles.

    Examples
    --------
    >>> particles = pycryo.read_particles(pycryo.betagal() / "particles.star")
    >>> particles.defocus_u[:2].tolist(), particles.has_poses
    ([10575.0, 10575.0], False)
    >>> some = particles[particles.defocus_u > 10500]
    >>> some.images().shape == (len(some), 128, 128)
    True
    >>> particles[:3].frame()[["rlnImageName", "rlnDefocusU"]]  # doctest: +NORMALIZE_WHITESPACE
                rlnImageName rlnDefocusU
    0  000001@particles.mrcs     10575.0
    1  000002@particles.mrcs     10575.0
    2  000003@particles.mrcs     10575.0
    """

    path: Path
    tables: Mapping[str, Table | dict[str, str]]
    table_name: str
    rows: NDArray[np.int64]
    stacks: tuple[Path, ...]
    headers: tuple[MrcHeader | ArrayStack, ...]
    folders: tuple[Path, ...]
    stack: NDArray[np.int32]
    image_index: NDArray[np.int64]
    optics: OpticsGroups
    optics_group: NDArray[np.int32]
    optics_table: Table
    is_renumbered: bool
    defocus_u: NDArray[np.float64]
    defocus_v: NDArray[np.float64]
    defocus_angle: NDArray[np.float64]
    phase_shift: NDArray[np.float64]
    ctf_b_factor: NDArray[np.float64]
    ctf_scale: NDArray[np.float64]
    rot: NDArray[np.float64]
    tilt: NDArray[np.float64]
    psi: NDArray[np.float64]
    origin_x: NDArray[np.float64]
    origin_y: NDArray[np.float64]
    random_subset: NDArray[np.int32]
    class_number: NDArray[np.int32]
    missing_ctf: tuple[str, ...]
    has_poses: bool

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), np.ndarray):
                value.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays of copies are read-only, too: NumPy's own copies are not.
        return Particles, tuple(getattr(self, field.name) for field in fields(self))

    @classmethod
    def from_arrays(
        cls, images: ArrayLike, pixel_size: float, *, poses: Any = None, origins: ArrayLike | None = None, **values: Any
    ) -> Particles:
        """Particles whose images are in memory, of one optics group.

        Parameters
        ----------
        images : (n, N, N) array_like
            White on dark.
        pixel_size : float
            Å.
        poses : (n, 3) or (n, 3, 3) array_like, or scipy.spatial.transform.Rotation, optional
            RELION's angles rot, tilt, psi in degrees, or matrices A (docs/conventions.md).
        origins : (n, 2) array_like, optional
            rlnOriginXAngst and Y, Å.
        **values : number, or (n,) array_like
            ``voltage`` (kV), ``spherical_aberration`` (mm) and ``amplitude_contrast``, a number each; ``defocus_u``,
            ``defocus_v`` (Å; that of U if left out), ``defocus_angle``, ``phase_shift`` (degrees), ``ctf_b_factor``
            (Å²), ``ctf_scale``, ``random_subset`` (1, 2; 0: to be drawn) and ``class_number``.

        Returns
        -------
        Particles

        Raises
        ------
        InputError
            Names the argument that is unknown or cannot be used.
        """
        return cls(**fields_of_arrays(images, pixel_size, values, poses, origins))

    def updated(self, columns: Mapping[str, ArrayLike]) -> Particles:
        """The same particles with other values of some columns of their table: arrays (n,) by label.

        Others, and values that a column cannot hold, are an `InputError`.
        """
        columns = new_columns("columns", columns, self.n)
        order = np.argsort(self.rows, kind="stable")
        new = {label: np.asarray(values)[order] for label, values in columns.items()}
        drop = _PIXEL_ORIGINS if "rlnOriginXAngst" in columns else ()
        table = self.table.with_columns(new, drop=drop, rows=self.rows[order])
        rows = np.empty(self.n, np.int64)
        rows[order] = np.arange(self.n)
        values: dict[str, Any] = {}
        for label in set(columns) & set(_FIELDS):
            values[_FIELDS[label]] = numbers(label, columns[label], getattr(self, _FIELDS[label]).dtype.type).copy()
        return replace(
            self,
            tables={**self.tables, self.table_name: table},
            rows=rows,
            has_poses=all(label in table.columns for label in POSE_LABELS),
            missing_ctf=tuple(label for label in self.missing_ctf if label not in columns),
            **values,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Any) -> Particles:
        """Some of the particles, by slice, index, indices or mask; see `picked_rows` for errors."""
        return self.subset(picked_rows(which, self.n))

    def __repr__(self) -> str:
        if not self.n:
            return f"Particles(0 of {self.path})"
        groups = np.unique(self.optics_group)
        boxes, sizes = (sorted(set(each[groups].tolist())) for each in (self.optics.box, self.optics.pixel_size))
        has = [word for word, there in (("CTF", self.has_ctf), ("poses", self.has_poses)) if there]
        return (
            f"Particles({self.n} of {self.path}: {' and '.join(map(str, boxes))} px, "
            f"{' and '.join(f'{size:.6g}' for size in sizes)} Å/px, {len(self.stacks)} stack(s), "
            f"{len(self.optics)} optics group(s), {' and '.join(has) or 'neither CTF nor poses'})"
        )

    def _repr_html_(self) -> str:
        """The first rows as a table, for notebooks."""
        first = self[:5].frame().to_html(index=False, max_cols=6)
        return f"<p>{html.escape(repr(self).replace(str(self.path), self.path.name))}</p>{first}"

    def frame(self) -> pd.DataFrame:
        """All columns of these particles as text in a DataFrame, in their order."""
        return self.table.frame().iloc[self.rows].reset_index(drop=True)

    def read(self, rows: ArrayLike) -> NDArray[np.float32]:
        """(n, N, N) images of some particles, in the order of `rows` (n,), which have one box.

        Raises
        ------
        InputError
            If the boxes differ, or there is no such particle.
        InputError, RunError
            If a stack cannot be read any more.
        """
        chosen = chosen_rows(rows, self.n)
        boxes = np.unique(self.optics.box[self.optics_group[chosen]])
        if len(boxes) > 1:
            raise InputError(f"rows: expected images of one box, got boxes {boxes.tolist()}")
        stacks = self.stack[chosen]
        parts = [(int(stack), np.flatnonzero(stacks == stack)) for stack in np.unique(stacks)]
        if len(parts) == 1:
            return self._read(parts[0][0], chosen)
        box = int(boxes[0]) if len(boxes) else 0
        found = np.empty((len(chosen), box, box), np.float32)
        for stack, places in parts:
            found[places] = self._read(stack, chosen[places])
        return found

    def _read(self, stack: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return read_stack(self.headers[stack] if self.headers else self.stacks[stack], self.image_index[rows])

    @overload
    def images(self) -> NDArray[np.float32]: ...

    @overload
    def images(self, batch: int) -> Iterator[NDArray[np.float32]]: ...

    def images(self, batch: int | None = None) -> NDArray[np.float32] | Iterator[NDArray[np.float32]]:
        """All images (n, N, N) in the order of the particles; or, with `batch`, so many at a time."""
        if batch is None:
            return self.read(np.arange(self.n))
        step = whole_number("batch", batch, 1)
        return (self.read(np.arange(first, min(first + step, self.n))) for first in range(0, self.n, step))

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.rows)

    @property
    def table(self) -> Table:
        """The file's table of particles, of which these are `rows`."""
        table = self.tables[self.table_name]
        assert isinstance(table, Table)
        return table

    def micrographs(self) -> NDArray[np.int64] | None:
        """(n,) number of each particle's micrograph, in the order of their names; None if the file does not tell."""
        if MICROGRAPH_LABEL not in self.table.columns:
            return None
        names = self.table.values(texts=[MICROGRAPH_LABEL])[MICROGRAPH_LABEL][self.rows].tolist()
        number = {name: place for place, name in enumerate(sorted(set(names)))}
        return np.array([number[name] for name in names], np.int64)

    def require_poses(self, advice: str) -> None:
        """Raise InputError, naming the columns that are missing and what to do, if the file has no poses."""
        if not self.has_poses:
            missing = [label for label in POSE_LABELS if label not in self.table.columns]
            raise InputError(f"{self.path} has no {', '.join(missing)}; {advice}")

    @property
    def has_ctf(self) -> bool:
        """Whether the file has all that the CTF needs."""
        return not self.missing_ctf

    @property
    def pixel_size(self) -> NDArray[np.float64]:
        """Å of each particle's image (n,)."""
        return self.optics.pixel_size[self.optics_group]

    @property
    def has_no_defocus(self) -> NDArray[np.bool_]:
        """Particles (n,) whose defocus is not finite, or 0 without a phase shift: their CTF means nothing."""
        zero = (self.defocus_u == 0) & (self.defocus_v == 0) & (self.phase_shift == 0)
        bad: NDArray[np.bool_] = zero | ~np.isfinite(
            self.defocus_u + self.defocus_v + self.defocus_angle + self.phase_shift
        )
        return bad

    def label(self, row: int) -> str:
        """Number and stack of a particle's image, for messages."""
        if not self.stacks:
            return f"row {int(self.rows[row]) + 1}"
        return f"{int(self.image_index[row]) + 1}@{self.stacks[self.stack[row]]}"

    def ctf_complaints(self) -> list[str]:
        """Why no CTF can be computed for any particle; empty if it can."""
        found = []
        if self.missing_ctf:
            found.append(
                f"{self.path} has no {', '.join(self.missing_ctf)}, which the CTF needs; add it, or run with --no-ctf"
            )
        if "rlnVoltage" not in self.missing_ctf and np.any(~(self.optics.voltage > 0)):
            found.append(f"{self.path}: rlnVoltage of an optics group is not above 0; correct it (kV)")
        has_defocus = not any(label.startswith("rlnDefocus") for label in self.missing_ctf)
        if has_defocus and self.n and self.has_no_defocus.all():
            found.append(f"{self.path}: the defocus of all particles is 0; correct rlnDefocusU, or run with --no-ctf")
        return found

    def require_ctf(self) -> None:
        """Raise InputError, saying what is missing, if no CTF can be computed for any particle."""
        for complaint in self.ctf_complaints():
            raise InputError(complaint)

    def subset(self, rows: ArrayLike) -> Particles:
        """The particles of some rows: numbers (m,), in that order, or a mask (n,); stacks and optics groups stay."""
        chosen = chosen_rows(rows, self.n, takes_mask=True)
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                values[name] = value[chosen]
        return Particles(**values)
