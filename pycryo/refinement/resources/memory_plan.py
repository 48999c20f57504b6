"""How much memory each phase of a refinement takes on a rank, known before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, pi

from pycryo.errors import InputError
from pycryo.kernels.projector import volume_radius
from pycryo.kernels.sphere import sphere_radius
from pycryo.model.insertion import VOXEL_BYTES, block_count
from pycryo.model.owners import Model, owner_ranks
from pycryo.model.solve import grid_box

_GIB = 1 << 30
# Rows of a transform on their way to other ranks and from them, three exchanges at a time: share of a rank's planes,
# and at most (pycryo.parallel.slabs.slab_rounds); what is gathered at a time for a whole grid
# (pycryo.model.padded_grid).
_EXCHANGED, _LEAST_EXCHANGED, _MOST_EXCHANGED, _GATHERED = 6 / 48, 6 * 2 << 20, 6 * 24 << 20, 32 << 20
# Bytes per particle: 32 support points of 7 doubles, the rest of the posterior; the table of all particles.
_POSTERIOR = 2500
_TABLE = 1000
# The interpreter and its libraries.
_BASE = 150 << 20
# Lists of the poses that cut each tile of the sums, and the threads' tiles, about (csrc/core/tiles.cpp).
_TILES = 32 << 20
# Bytes for images where the system does not tell how much memory there is; and at least.
_UNKNOWN = 2 << 30
_LEAST_IMAGES = 64 << 20
# Maps of the unpadded grid that masks and FSC take at their peak, beside half-maps and references.
_FSC_MAPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the memory of a run depends on.

    Attributes
    ----------
    box, padding : int
        Of the model.
    image_box : int
        Largest box of the images.
    n_particles, n_ranks, node_ranks, threads : int
        Of the run; ranks of a node, threads of a rank.
    model : str
    single : bool
    images : float
        Bytes for images that are searched or wait for insertion.
    batch : int
        Images read at a time.
    preread : bool
    halves : int
        2: half-maps are made; 1: only the map of all data.
    classes : int
        Each has references, sums and maps.
    """

    box: int
    padding: int
    image_box: int
    n_particles: int
    n_ranks: int
    node_ranks: int
    threads: int
    model: Model
    single: bool
    images: float
    batch: int
    preread: bool
    halves: int = 2
    classes: int = 1

    def __post_init__(self) -> None:
        names = "box", "padding", "image_box", "n_particles", "n_ranks", "node_ranks", "threads", "batch", "classes"
        for name in names:
            if getattr(self, name) < 1:
                text = name.removeprefix("n_").replace("_", "-")
                raise InputError(f"{text} is {getattr(self, name)}, it must be at least 1")

    @property
    def n_owner(self) -> int:
        """Ranks of the smaller group that owns a half-set."""
        return min(map(len, owner_ranks(self.n_ranks))) if self.halves == 2 else self.n_ranks

    @property
    def here(self) -> int:
        """Half-sets that the fullest rank owns."""
        return self.halves if self.n_ranks == 1 else 1


@dataclass(frozen=True, slots=True)
class Phase:
    """Bytes that the fullest rank holds at once in one phase, by purpose."""

    name: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.parts.values())


def half_voxels(radius: float) -> int:
    """Voxels of `pycryo.kernels.sphere.sphere` of this radius, to 1 %, without making its table."""
    return round(2 / 3 * pi * (radius + 1.25) ** 3 + pi / 2 * radius**2)


def memory_plan(sizes: Sizes) -> list[Phase]:
    """The phases of the last iteration, at Nyquist, which needs most; and the global search.

    With V voxels of the packed half sphere, a grid of P points per axis, M points of the unpadded map, n ranks of
    which o own a half-set:

    * sums F and T: 24 V/o (slab, sharded) or 24 V (replicated); W is made of T where it is needed, and would take
      8 V/o or 8 V only in a second gridding iteration;
    * grid C: 16 bytes (single: 8) · P²(P/2 + 1), divided by o with slabs;
    * maps: 4 M³/n each.

    Sums, maps and references are there for each class.
    """
    slab = sizes.n_owner if sizes.model != "replicated" else 1
    voxels = half_voxels(sphere_radius(sizes.padding, sizes.box / 2))
    points = grid_box(sizes.box, sizes.box / 2)
    own = ceil(voxels / slab)
    one_map = 4 * ceil(points / sizes.n_ranks) * points**2
    always = _always(sizes, one_map)
    sums = sizes.classes * sizes.here * VOXEL_BYTES * own
    solving = _transform(sizes, points, sizes.n_owner)
    everything = sizes.n_ranks if sizes.model != "replicated" else 1
    last = _transform(sizes, points, sizes.n_ranks)
    maps = {"half-maps and mask": 3 * sizes.classes * one_map}
    phases = [
        Phase("search", always | _images(sizes) | _volumes(sizes, sizes.box / 4)),
        Phase("last comparison", always | _images(sizes) | _volumes(sizes, sizes.box / 2) | _direct(sizes, sums)),
        Phase("insertion", always | {"sums": sums} | _exchange(sizes, own) | {"images": round(sizes.images)}),
        Phase("half-maps", always | {"sums": sums} | solving),
        Phase("FSC", always | {"sums": sums} | maps | {"transforms": _FSC_MAPS * one_map}),
        Phase("map of all data", always | maps | {"sums": sums + VOXEL_BYTES * ceil(voxels / everything)} | last),
    ]
    return phases if sizes.halves == 2 else [phases[2], phases[3]]


def _transform(sizes: Sizes, points: int, n_rank: int) -> dict[str, int]:
    """The padded grid C that some ranks hold, and what is on its way between them and in the threads' hands."""
    n, n_byte = sizes.padding * points, 8 if sizes.single else 16
    plane = n_byte * n * (n // 2 + 1)
    planes = n if sizes.model != "slab" else ceil(n / n_rank)
    travelling = 0
    if n_rank > 1 and sizes.model == "slab":
        travelling = min(_MOST_EXCHANGED, max(_LEAST_EXCHANGED, ceil(_EXCHANGED * planes * plane)))
    elif n_rank > 1 and sizes.model == "sharded":
        travelling = _GATHERED
    return {"grid": planes * plane, "transform": travelling + 2 * sizes.threads * plane}


def _always(sizes: Sizes, one_map: int) -> dict[str, int]:
    mine = ceil(sizes.n_particles / sizes.n_ranks)
    parts = {
        "program": _BASE,
        "particles": _TABLE * sizes.n_particles + (_POSTERIOR * mine if sizes.halves == 2 else 0),
    }
    if sizes.halves == 2:
        parts["references"] = 2 * sizes.classes * one_map
    if sizes.preread:
        parts["images kept"] = 4 * sizes.image_box**2 * mine
    return parts


def _images(sizes: Sizes) -> dict[str, int]:
    """Images at work: those read, the next ones, their samples."""
    return {"images": round(max(sizes.images, 6 * 4 * sizes.batch * sizes.image_box**2))}


def _volumes(sizes: Sizes, r_high: float) -> dict[str, int]:
    """Padded transforms of the references, one for each half on a node, divided by its ranks."""
    radius = volume_radius(sizes.padding, r_high)
    held = 2 if sizes.node_ranks == sizes.n_ranks or sizes.n_ranks % 2 else 1
    return {
        "padded references": ceil(sizes.classes * held * 8 * (2 * radius + 1) ** 2 * (radius + 1) / sizes.node_ranks)
    }


def _direct(sizes: Sizes, sums: int) -> dict[str, int]:
    """Sums are filled image by image where nothing waits."""
    return {"sums": sums} if sizes.n_owner == 1 or sizes.model == "replicated" else {}


def _exchange(sizes: Sizes, own: int) -> dict[str, int]:
    waits = sizes.n_owner > 1 and sizes.model != "replicated"
    # One that is filled, one on its way out, one on its way in.
    blocks = 3 * VOXEL_BYTES * ceil(own / block_count(own)) if waits else 0
    return {"blocks": blocks, "tiles": _TILES}


def image_budget(sizes: Sizes, allowed: float | None, figures: tuple[int, int] | None) -> float:
    """Bytes that images may take on a rank: `allowed` GiB, else what the model leaves, at most half of what is free.

    Parameters
    ----------
    sizes : Sizes
    allowed : float or None
    figures : (int, int) or None
        Bytes free on the node, and in all.
    """
    if allowed is not None:
        return allowed * _GIB
    if figures is None:
        return float(_UNKNOWN)
    free = figures[0] / sizes.node_ranks
    model = max(phase.total for phase in memory_plan(replace(sizes, images=0.0)) if "images" in phase.parts)
    return min(0.5 * free, max(0.8 * free - model, _LEAST_IMAGES))


def peak(plan: list[Phase]) -> Phase:
    """The phase that needs most."""
    return max(plan, key=lambda phase: phase.total)


def describe(plan: list[Phase]) -> list[str]:
    """A line per phase, largest parts first."""
    lines = []
    for phase in plan:
        parts = sorted(phase.parts.items(), key=lambda each: -each[1])
        shown = ", ".join(f"{name} {size(n_byte)}" for name, n_byte in parts if n_byte >= 0.02 * phase.total)
        lines.append(f"  {phase.name:<16} {size(phase.total):>9}: {shown}")
    return lines


def size(n_byte: float) -> str:
    """Bytes as a text."""
    return f"{n_byte / _GIB:.2f} GiB" if n_byte >= _GIB else f"{n_byte / 2**20:.0f} MiB"


def alternatives(sizes: Sizes) -> Iterator[tuple[str, Sizes]]:
    """What could be changed, the least first, each with the sizes that it leads to."""
    if sizes.preread:
        yield "leave out --preread", replace(sizes, preread=False)
    least = min(sizes.images, max(_LEAST_IMAGES, sizes.images / 8))
    if least < sizes.images:
        yield f"--memory {least / _GIB:.2g}", replace(sizes, images=least)
    if sizes.model != "slab":
        yield "--model slab", replace(sizes, model="slab")
    slab = replace(sizes, model="slab", images=least, preread=False)
    if not sizes.single:
        yield "--single", replace(slab, single=True)
    for factor in (2, 4, 8, 16, 32, 64):
        more = replace(slab, n_ranks=sizes.n_ranks * factor)
        yield f"{factor} × as many nodes with as many ranks each", more
    yield "--pad 1", replace(slab, padding=1, single=True)


def advice(sizes: Sizes, free: float) -> str:
    """What would make the run fit into `free` bytes of a node."""
    for text, other in alternatives(sizes):
        if peak(memory_plan(other)).total * other.node_ranks <= free:
            return text
    return "smaller images (a coarser pixel size) or nodes with more memory"


def check(sizes: Sizes, plan: list[Phase], figures: tuple[int, int] | None) -> str | None:
    """A warning if the ranks of a node need more than is free there, else None.

    Parameters
    ----------
    sizes : Sizes
    plan : list of Phase
    figures : (int, int) or None
        Bytes free on the node, and in all.

    Raises
    ------
    InputError
        If they need more than there is.
    """
    if figures is None:
        return None
    free, total = figures
    worst = peak(plan)
    needed = worst.total * sizes.node_ranks
    if needed <= free:
        return None
    text = (
        f"this run needs about {size(needed)} on a node ({sizes.node_ranks} rank(s) of {size(worst.total)} each, in "
        f"phase '{worst.name}'), which has {size(free)} free of {size(total)}; what would help: {advice(sizes, free)}"
    )
    if needed > total:
        raise InputError(text)
    return text
