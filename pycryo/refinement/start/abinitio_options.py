"""Options of the search for an initial map; the command line is generated from these fields."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from pycryo.errors import InputError
from pycryo.model.owners import Model
from pycryo.option_fields import check_types
from pycryo.refinement.options import RefineOptions

# Resolutions of the search, as parts of the particle's diameter and at best, Å: where it begins there are no features
# beside the shape, and where it ends there are enough for any refinement to go on from.
_FIRST, _FIRST_PART = 40.0, 5.0
_LAST, _LAST_PART = 15.0, 14.0


def _shared(name: str) -> Any:
    """A field that is the same as in `RefineOptions`."""
    same = next(each for each in fields(RefineOptions) if each.name == name)
    return field(default=same.default, metadata=same.metadata)


def _own(default: Any, group: str, help: str, *flags: str, metavar: str | None = None) -> Any:
    """A field with what the command line needs, see `pycryo.cli.option_arguments`."""
    return field(default=default, metadata={"group": group, "help": help, "flags": flags, "metavar": metavar})


@dataclass(frozen=True, slots=True, kw_only=True)
class AbinitioOptions:
    """Options of `pycryo.abinitio`; each is a flag of ``pycryo abinitio``.

    Raises
    ------
    InputError
        If a value is out of range.

    Examples
    --------
    >>> options = pycryo.AbinitioOptions(symmetry="D2", diameter=180)
    >>> options.resolutions(180)
    (40.0, 15.0)
    """

    symmetry: str = _shared("symmetry")
    diameter: float | None = _own(
        None, "Sample", "diameter of the particle, Å (default: from the images)", "--particle_diameter", metavar="Å"
    )
    first_resolution: float | None = _own(
        None, "Search", "begin with this, Å (default: 40, or a fifth of the diameter)", "--grad_ini_resol", metavar="Å"
    )
    last_resolution: float | None = _own(
        None,
        "Search",
        "end with this, Å (default: 15, or a 14th of the diameter)",
        "--grad_fin_resol",
        metavar="Å",
    )
    tries: int = _own(6, "Search", "random starts; the likelier half goes on, twice", metavar="N")
    max_images: int = _own(5000, "Search", "images to use, drawn at random if there are more", metavar="N")
    first_batch: int = _own(50, "Search", "images of the first round of a try", "--grad_ini_subset", metavar="N")
    last_batch: int = _own(400, "Search", "images of its last round", "--grad_fin_subset", metavar="N")
    ctf: bool = _shared("ctf")
    invert_contrast: bool = _shared("invert_contrast")
    max_bad_fraction: float = _shared("max_bad_fraction")
    particles_dir: str | None = _shared("particles_dir")
    ignore_optics: str | None = _shared("ignore_optics")
    scratch: str | None = _shared("scratch")
    memory: float | None = _shared("memory")
    model: Model = _shared("model")  # noqa: RUF009
    padding: int = _shared("padding")
    threads: int | None = _shared("threads")
    seed: int = _shared("seed")

    def __post_init__(self) -> None:
        check_types(self)
        self.refine_options()
        for name in ("first_resolution", "last_resolution"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name.replace('_', '-')} is {value}, it must be a positive number")
        first, last = self.first_resolution, self.last_resolution
        if self.last_batch < self.first_batch:
            raise InputError(
                f"last-batch is {self.last_batch}, it must not be less than first-batch, {self.first_batch}"
            )
        if first is not None and last is not None and first < last:
            raise InputError(f"first-resolution is {first:g} Å, it must not be finer than last-resolution, {last:g} Å")
        for name, least in (("tries", 1), ("max_images", 2), ("first_batch", 2), ("last_batch", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name.replace('_', '-')} is {getattr(self, name)}, it must be at least {least}")

    def refine_options(self) -> RefineOptions:
        """What the iterations need to know, as a refinement has it."""
        names = {each.name for each in fields(RefineOptions)} & {each.name for each in fields(self)}
        return RefineOptions(stages="global", **{name: getattr(self, name) for name in names})

    def resolutions(self, diameter: float) -> tuple[float, float]:
        """Where the search begins and ends for a particle of this diameter, Å."""
        last = self.last_resolution or max(_LAST, diameter / _LAST_PART)
        if self.first_resolution:
            last = min(last, self.first_resolution)
        return self.first_resolution or max(_FIRST, diameter / _FIRST_PART, last), last
