"""Every option of a refinement; the command line is generated from these fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pycryo.errors import InputError
from pycryo.geometry.symmetry import GROUPS
from pycryo.geometry.symmetry import symmetry as point_group
from pycryo.io.aberrations import KINDS
from pycryo.model.ewald import check_ctf, check_hand
from pycryo.model.owners import MODELS, Model
from pycryo.option_fields import check_types
from pycryo.parallel.conveyor import WAYS, Way

Keep = Literal["none", "last", "all"]
# Iterations whose files stay in the folder; None: all.
KEPT_ITERATIONS: dict[Keep, int | None] = {"none": 0, "last": 2, "all": None}
_STAGES = ("global", "local", "defocus", "optics")
# Å: below it aberrations of the microscope begin to matter, and to be seen.
_OPTICS_RESOLUTION = 4.0
# Å: below it a particle's own defocus begins to matter, and to be seen. An error of 300 Å turns the CTF at 6 Å by 30°.
_DEFOCUS_RESOLUTION = 6.0
# GiB; more are a mistake.
MOST_MEMORY = 1e9
# Degrees; the filter's kernels are not wider than 11 degrees, with heavy tails.
_MOST_SIGMA_ANG = 30.0


def _option(default: Any, group: str, help: str, *flags: str, metavar: str | None = None) -> Any:
    """A field with what the command line needs: its group, help text and further spellings (RELION's)."""
    return field(default=default, metadata={"group": group, "help": help, "flags": flags, "metavar": metavar})


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineOptions:
    """Options of `pycryo.refine`; each is a flag of ``pycryo refine`` (``ini_high`` is ``--ini-high``).

    Raises
    ------
    InputError
        If a value is out of range.

    Examples
    --------
    >>> options = pycryo.RefineOptions(symmetry="D2", diameter=180, max_iter=10)
    >>> options.seed, options.padding
    (1, 2)
    >>> pycryo.RefineOptions(symmetry="Q2")
    Traceback (most recent call last):
        ...
    pycryo.errors.InputError: symmetry 'Q2' is unknown: use Cn, Dn, T, O, I1, I2 (= I), I3 or I4
    """

    symmetry: str = _option("C1", "Sample", f"point group: {GROUPS}", "--sym", metavar="GROUP")
    diameter: float | None = _option(
        None, "Sample", "diameter of the particle, Å (default: from the reference)", "--particle_diameter", metavar="Å"
    )
    ini_high: float = _option(40.0, "Reference", "low-pass of the reference, Å", "--ini_high", metavar="Å")
    classes: int = _option(
        1,
        "Reference",
        "classes, each with maps of its own: all begin with the reference and images dealt to them at random, or each "
        "with one of as many --ref",
        "--K",
        metavar="K",
    )
    mask: str | None = _option(
        None,
        "Reference",
        "soft mask of the molecule, MRC (default: made from the maps)",
        "--solvent_mask",
        metavar="MRC",
    )
    ctf: bool = _option(True, "Images", "do not apply a contrast transfer function")
    invert_contrast: bool = _option(False, "Images", "the particles are dark on light")
    ewald: bool = _option(
        False,
        "Images",
        "the final iteration allows for the thickness of the particle: images are inserted on the Ewald sphere",
    )
    ewald_hand: int = _option(
        1,
        "Images",
        "1: what is at height z of the turned map has more defocus, -1: less; the right one makes the better map",
        metavar="HAND",
    )
    max_bad_fraction: float = _option(
        0.05, "Images", "stop if more than this share of the images is unusable", metavar="SHARE"
    )
    particles_dir: str | None = _option(
        None, "Images", "folder that the stacks' paths may be relative to", metavar="DIR"
    )
    ignore_optics: str | None = _option(
        None,
        "Images",
        f"go on without these corrections, separated by commas: {', '.join(KINDS)} (default: all that the file states "
        "are made)",
        metavar="LIST",
    )
    scratch: str | None = _option(
        None,
        "Images",
        "folder on a fast disc of each node: the stacks are copied there first, and removed in the end",
        "--scratch_dir",
        metavar="DIR",
    )
    preread: bool = _option(False, "Images", "keep all images in memory", "--preread_images")
    stages: str | None = _option(
        None,
        "Search",
        "stages to run, in order: global, global,local, global,local,defocus or global,local,defocus,optics (default: "
        "global,local, then defocus if the map is better than 6 Å, and optics if it is better than 4 Å; with --local "
        "without global)",
        metavar="LIST",
    )
    max_iter: int = _option(
        40, "Search", "stop after this many iterations at the latest (the final one is never the first)", metavar="N"
    )
    local: bool = _option(
        False, "Search", "start from the poses in the file, without a global search; --ref may then be left out"
    )
    sigma_ang: float | None = _option(
        None,
        "Search",
        "with --local: rotations stay near the file's (or its prior columns), standard deviation in degrees (default: "
        "they begin within 3 degrees of the file's and move freely)",
        metavar="DEG",
    )
    sigma_offset: float | None = _option(
        None,
        "Search",
        "with --local: the same for shifts, Å (default: they begin within a tenth of --ini-high)",
        "--sigma_offset",
        metavar="Å",
    )
    coarse_to_fine: bool = _option(
        True, "Search", "compare all images with all slices at full resolution in the global search"
    )
    keep_iterations: Keep = _option(  # noqa: RUF009
        "last",
        "Output",
        "files of each iteration that stay in the folder: none, those of the last two, or all (with the checkpoint)",
    )
    slices: Way | None = _option(  # noqa: RUF009
        None,
        "Computation",
        "how ranks come by the slices of the global search: conveyor, allgather or local (default: the fastest, by "
        "measured rates)",
        metavar="WAY",
    )
    ring_size: int | None = _option(
        None,
        "Computation",
        "ranks that share slices, at most (default: by measured rates; with --slices all ranks of a half-set)",
        metavar="N",
    )
    memory: float | None = _option(
        None,
        "Computation",
        "GiB of memory per rank for images that are searched or wait for insertion; more are taken in several rounds "
        "(default: half of what is free, divided by the ranks of the node)",
        metavar="GIB",
    )
    model: Model = _option(  # noqa: RUF009
        "slab",
        "Computation",
        "how ranks hold Fourier sums, weights and grid of a map: slab (all in pieces), sharded (the grid whole on each "
        "rank) or replicated (all whole on each rank)",
        metavar="MODEL",
    )
    single: bool = _option(False, "Computation", "grids of maps in single precision: half their memory and time")
    padding: int = _option(2, "Computation", "padding factor of the Fourier volumes", "--pad", metavar="N")
    threads: int | None = _option(
        None,
        "Computation",
        "threads per rank (default: the cores divided by the ranks of the node)",
        "--j",
        metavar="N",
    )
    seed: int = _option(1, "Computation", "seed of all random draws", "--random_seed", metavar="N")

    def __post_init__(self) -> None:
        check_types(self)
        point_group(self.symmetry)
        for name in ("diameter", "ini_high", "sigma_ang", "sigma_offset"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name.replace('_', '-')} is {value}, it must be a positive number")
        for name in ("sigma_ang", "sigma_offset"):
            if getattr(self, name) is not None and not self.local:
                raise InputError(f"{name.replace('_', '-')} is for a start from the poses in the file: add --local")
        if self.sigma_ang is not None and self.sigma_ang > _MOST_SIGMA_ANG:
            raise InputError(
                f"sigma-ang is {self.sigma_ang:g} degrees, it must be at most {_MOST_SIGMA_ANG:g}: a global search, "
                "without --local, finds poses that are further away"
            )
        if not 0 <= self.max_bad_fraction <= 1:
            raise InputError(f"max-bad-fraction is {self.max_bad_fraction}, it must be between 0 and 1")
        if self.slices is not None and self.slices not in WAYS:
            raise InputError(f"slices is '{self.slices}', use {', '.join(WAYS[:-1])} or {WAYS[-1]}")
        if self.keep_iterations not in KEPT_ITERATIONS:
            raise InputError(f"keep-iterations is '{self.keep_iterations}', use none, last or all")
        if self.model not in MODELS:
            raise InputError(f"model is '{self.model}', use {', '.join(MODELS[:-1])} or {MODELS[-1]}")
        if self.memory is not None and not 0 < self.memory < MOST_MEMORY:
            raise InputError(f"memory is {self.memory}, it must be a positive number of GiB")
        for name in ("classes", "max_iter", "padding", "threads", "ring_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', '-')} is {value}, it must be at least 1")
        check_hand(self.ewald_hand)
        check_ctf(has_ewald=self.ewald, has_ctf=self.ctf)
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, it must not be negative")
        self.stage_list()

    def stage_list(self) -> tuple[str, ...]:
        """The stages to run, in order.

        Raises
        ------
        InputError
            For an unknown or repeated stage, or none, or a search of the defocus without CTF.
        """
        stages = _STAGES[1:] if self.local else _STAGES
        if self.stages is None:
            return stages if self.ctf else tuple(stage for stage in stages if stage not in ("defocus", "optics"))
        names = tuple(name.strip() for name in self.stages.split(",") if name.strip())
        if not names or names != stages[: len(names)]:
            options = ["'" + ",".join(stages[:count]) + "'" for count in range(len(stages), 0, -1)]
            text = f"{', '.join(options[:-1])} or {options[-1]}{' with --local' if self.local else ''}"
            raise InputError(f"stages is '{self.stages}', use {text}")
        if "defocus" in names and not self.ctf:
            raise InputError("the stage 'defocus' needs a CTF: leave out --no-ctf or the stage")
        return names

    def defocus_resolution(self) -> float:
        """Å: a resolution better than this lets the defocus stage follow the local one."""
        return _DEFOCUS_RESOLUTION if self.stages is None else float("inf")

    def optics_resolution(self) -> float:
        """Å: with a resolution better than this the optics are looked for."""
        return _OPTICS_RESOLUTION if self.stages is None else float("inf")
