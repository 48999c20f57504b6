"""The diagrams of docs/parallel.md, drawn from the package's own schedules: ``python docs/parallel_pictures.py``."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from scipy.spatial.transform import Rotation

from pycryo.kernels.backprojector import entry_quanta, quantum_for
from pycryo.kernels.entries import Entries
from pycryo.kernels.keyvalue import to_key_values
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.sphere import Sphere, sphere, sphere_radius
from pycryo.model.insertion import VOXEL_BYTES
from pycryo.model.owners import owner_ranks
from pycryo.model.sum_exchange import KEY_VALUE_BYTES
from pycryo.parallel.belt_plan import BeltPlan, plan_belt
from pycryo.parallel.rows import even_bounds

IMAGES = Path(__file__).parent / "images"
WIDTH, DPI = 8.2, 120  # inches, pixels per inch
# Okabe and Ito's colours, which colour-blind people tell apart; the letters and numbers in the boxes say the same.
BLUE, ORANGE, GREEN, PINK, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "0.88"
RANKS = (SKY, ORANGE, GREEN, PINK)
PADDING = 2


def box(axes: Axes, corner: tuple[float, float], size: tuple[float, float], colour: str, text: str = "") -> None:
    """A filled rectangle with a text in it."""
    axes.add_patch(Rectangle(corner, *size, facecolor=colour, edgecolor="white", lw=1.5))
    middle = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    axes.text(*middle, text, ha="center", va="center", fontsize=8.5)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    """An arrow with a text above its middle."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="0.2", lw=1.2))
    axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.03, text, ha="center", va="bottom", fontsize=8.5)


def bare(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Limits, and neither frame nor ticks."""
    axes.set(xlim=x, ylim=y)
    axes.set_axis_off()


def holdings(n_rank: int = 6, n_node: int = 2, first_half: float = 0.54) -> Figure:
    """Who holds what: particles, sums, planes and references of `n_rank` ranks on `n_node` nodes."""
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    axes = figure.subplots()
    for rank in range(n_rank):
        axes.text(rank + 0.5, 5.15, f"rank {rank}", ha="center", fontsize=9)
    border = first_half * n_rank
    for low, high in pairwise(np.unique([*range(n_rank + 1), border])):
        box(axes, (low, 4), (high - low, 0.85), SKY if high <= border else ORANGE, "1" if high <= border else "2")
    for half, (ranks, colour) in enumerate(zip(owner_ranks(n_rank), (SKY, ORANGE), strict=True)):
        for part, rank in enumerate(ranks):
            box(axes, (rank, 3), (1, 0.85), colour, f"half {half + 1}\npart {part + 1} of {len(ranks)}")
            box(axes, (rank, 2), (1, 0.85), colour, f"half {half + 1}\npart {part + 1} of {len(ranks)}")
    for rank, (low, high) in enumerate(pairwise(even_bounds(100, n_rank).tolist())):
        box(axes, (rank, 1), (1, 0.85), GREY, f"z = {low} ... {high - 1}")
    width = n_rank / n_node
    for node in range(n_node):
        begin, end = node * width, (node + 1) * width
        # A node needs the reference of a half-set whose images its ranks have.
        halves = [half for half, used in enumerate((begin < border, end > border)) if used]
        part_width = width / len(halves)
        for place, half in enumerate(halves):
            text = f"node {node}: one copy of\nreference {half + 1}"
            box(axes, (begin + place * part_width, 0), (part_width, 0.85), (SKY, ORANGE)[half], text)
    names = (
        "reference,\nin shared memory",
        "planes of a map\nof 100 px",
        "padded grid C",
        "sums F and T",
        "particles\n(half-set)",
    )
    for row, name in enumerate(names):
        axes.text(-0.1, row + 0.42, name, ha="right", va="center", fontsize=9)
    bare(axes, (-1.4, n_rank), (-0.05, 5.5))
    return figure


def belt(axes: Axes, plan: BeltPlan) -> None:
    """Which block each rank of a ring has in hand at each step of the first round."""
    n = plan.n_rank
    for rank in range(n):
        for step in range(n):
            owner = plan.owner(rank, step)
            first, last = plan.part(0, owner)
            box(axes, (step, n - 1 - rank), (0.94, 0.86), RANKS[owner], f"block {owner}\nslices {first} ... {last - 1}")
        axes.text(-0.08, n - 0.57 - rank, f"rank {rank}", ha="right", va="center", fontsize=9)
    for step in range(n):
        axes.text(step + 0.47, n + 0.02, f"step {step}", ha="center", fontsize=9)
        if step < n - 1:
            for rank in range(n - 1):
                arrow(axes, (step + 0.86, n - 1 - rank + 0.12), (step + 1.08, n - 2 - rank + 0.74))
    bare(axes, (-0.55, n), (-0.1, n + 0.25))


def lanes(axes: Axes, n: int = 4, sampling: float = 4.0, comparing: float = 8.0, message: float = 0.8) -> None:
    """What a rank of `n` does at what time, in the three ways; all times of one rank, in any unit."""
    part, piece = sampling / n, comparing / n
    plans: dict[str, list[tuple[str, float, str]]] = {
        "serial": [("sample all slices", sampling, PINK), ("compare", comparing, SKY)],
        "allgather": [
            ("sample", part, PINK),
            ("wait for messages", (n - 1) * message, GREY),
            ("compare", comparing, SKY),
        ],
        "conveyor": [("sample", part, PINK), *((f"compare block {i}", piece, SKY) for i in range(n))],
    }
    for row, (name, work) in enumerate(reversed(plans.items())):
        begin = 0.0
        for text, length, colour in work:
            box(axes, (begin, row), (length, 0.6), colour, text)
            begin += length
        axes.text(-0.1, row + 0.3, name, ha="right", va="center", fontsize=9)
    for i in range(n - 1):
        box(axes, (part + i * piece, -0.5), (message, 0.38), GREY, "send")
    axes.text(-0.1, -0.31, "its messages", ha="right", va="center", fontsize=9)
    bare(axes, (-2, sampling + comparing), (-0.55, 2.75))
    arrow(axes, (9.6, -0.3), (12, -0.3), "time")


def conveyor() -> Figure:
    """The conveyor: its schedule, and its time beside the other ways."""
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(1.25, 1))
    belt(top, plan_belt(1000, (1.0,) * 4, 250))
    lanes(bottom)
    return figure


def models(n: int = 4) -> Figure:
    """The arrays F, T, W, C that each of `n` ranks holds in the three models."""
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    held = {
        "replicated": ("", "4 models\non each rank"),
        "sharded": ("FTW", "1 + 3/n models\non each rank"),
        "slab": ("FTWC", "4/n models\non each rank"),
    }
    for axes, (name, (dealt, memory)) in zip(figure.subplots(1, 3), held.items(), strict=True):
        for place, array in enumerate("FTWC"):
            axes.text(place * 1.15 + 0.5, 1.2 * n - 0.1, array, ha="center", va="bottom", fontsize=10)
            for rank in range(n):
                corner = place * 1.15, (n - 1 - rank) * 1.2
                low, high = (1 - (rank + 1) / n, 1 / n) if array in dealt else (0.0, 1.0)
                colour = RANKS[rank] if array in dealt else "0.7"
                axes.add_patch(Rectangle((corner[0], corner[1] + low), 1, high, facecolor=colour))
                axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor="0.4", lw=0.8))
        for rank in range(n):
            axes.text(-0.12, (n - 1 - rank) * 1.2 + 0.5, f"rank {rank}", ha="right", va="center", fontsize=8.5)
        axes.set_title(f"{name}\n{memory}", fontsize=9.5)
        bare(axes, (-1.3, 4.6), (-0.1, 1.2 * n + 0.5))
        axes.set_aspect("equal", anchor="S")
    return figure


def touched(axes: Axes, box_px: int, entries: Entries, n_owner: int) -> None:
    """The voxels of the section z = 0 that the samples of some slices touch, by the rank that owns them."""
    ball = sphere(sphere_radius(PADDING, box_px / 2))
    quantum = entry_quanta(entries)
    keys = to_key_values(ball, entries, box=box_px, padding=PADDING, quantum=quantum).key
    row = np.searchsorted(ball.start, keys, side="right") - 1
    layer, z = np.divmod(row, ball.layers)
    x = keys - ball.start[row]
    in_section = z == ball.radius
    bounds = ball.bounds(n_owner)
    owner = np.searchsorted(bounds, layer, side="right") - 1
    for rank in range(n_owner):
        low, high = bounds[rank : rank + 2] - ball.radius - 0.5
        axes.axhspan(low, high, color=RANKS[rank], alpha=0.25, lw=0)
        some = in_section & (owner == rank)
        axes.plot(x[some], layer[some] - ball.radius, "s", color=RANKS[rank], markersize=3.2, markeredgewidth=0)
        axes.text(ball.radius + 1, (low + high) / 2, f"slab of\nrank {rank}", va="center", fontsize=8.5)
    axes.set(xlim=(-0.5, 1.45 * ball.radius), ylim=(-ball.radius - 1, ball.radius + 1), xlabel="x", ylabel="layer y")
    axes.set_title(f"voxels that {len(entries.image)} slices touch\n(section z = 0)", fontsize=9)
    axes.set_aspect("equal")


def random_entries(n: int, box_px: int, seed: int = 1) -> Entries:
    """`n` images of ones at random poses."""
    pixels = half_plane(box_px, box_px / 2)
    ones = np.ones((1, 2, len(pixels)), np.float32)
    matrices = Rotation.random(n, random_state=seed).as_matrix()
    nothing, index = np.zeros((n, 2)), np.zeros(n, np.int64)
    return Entries(ones, ones[:, 0].copy(), index, matrices, nothing, np.ones(n), pixels.kx, pixels.ky)


def traffic(ball: Sphere, box_px: int, numbers: tuple[int, ...], n_rank: int) -> dict[str, list[float]]:
    """MB that a rank sends to the others, as key-values and as slabs, for each number of images on it."""
    others = (n_rank - 1) / n_rank
    entries = [random_entries(n, box_px) for n in numbers]
    made = [to_key_values(ball, each, box=box_px, padding=PADDING, quantum=entry_quanta(each)) for each in entries]
    dense = VOXEL_BYTES * ball.n_voxel * others / 1e6
    return {
        "key-values": [KEY_VALUE_BYTES * len(each) * others / 1e6 for each in made],
        "slabs": [dense] * len(numbers),
    }


def key_values(box_px: int = 64, n_rank: int = 4) -> Figure:
    """What travels to the owners of F and T, and which form is smaller."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    small = 24
    touched(left, small, random_entries(4, small, seed=3), n_rank)
    numbers = (1, 2, 5, 10, 20, 50, 100, 200, 500)
    sizes = traffic(sphere(sphere_radius(PADDING, box_px / 2)), box_px, numbers, n_rank)
    for (name, values), colour, marker in zip(sizes.items(), (GREEN, BLUE), "Ds", strict=True):
        right.plot(numbers, values, color=colour, marker=marker, markerfacecolor="white", label=name)
    right.set(xscale="log", yscale="log", xlabel="images of a rank", ylabel="sent to the others / MB")
    right.set_title(f"box {box_px} px, {n_rank} owners", fontsize=9)
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_formatter("{x:g}")
    right.grid(alpha=0.3)
    right.legend(frameon=False)
    return figure


def slab_transform(n_rank: int = 4, radius: int = 20) -> Figure:
    """Layers y of the sphere of a rank, and the planes z of the grid that it gets."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 0.8, 1))
    side = 2 * radius + 1
    inside = Circle((0, 0), radius + 0.5, transform=left.transData, facecolor="none", edgecolor="0.3")
    left.add_patch(inside)
    for rank, (low, high) in enumerate(pairwise((sphere(radius).bounds(n_rank) - radius - 0.5).tolist())):
        slab = Rectangle((-radius - 1, low), side + 1, high - low, facecolor=RANKS[rank], edgecolor="white")
        left.add_patch(slab)
        slab.set_clip_path(inside)
        left.text(0, (low + high) / 2, f"rank {rank}", ha="center", va="center", fontsize=9)
    n = 2 * (radius + 2)
    for rank, (low, high) in enumerate(pairwise((even_bounds(n, n_rank) - n // 2).tolist())):
        box(right, (low, -n / 2), (high - low, n), RANKS[rank], f"rank {rank}")
    left.set(title="Fourier space: layers y, all z\n(section x = 0)", xlabel="z", ylabel="y")
    right.set(title="grid C: planes z, all y\n(section x = 0)", xlabel="z", ylabel="y")
    for axes in (left, right):
        axes.set(xlim=(-n / 2 - 1, n / 2 + 1), ylim=(-n / 2 - 1, n / 2 + 1), aspect="equal", xticks=[], yticks=[])
        axes.title.set_fontsize(9)
    steps = (
        "1. along z, by each rank\non its own layers",
        "2. exchange: every rank\nsends a piece to every other",
        "3. along y and x, by each\nrank on its own planes",
    )
    for row, text in enumerate(steps):
        middle.text(0.5, 0.84 - 0.3 * row, text, ha="center", va="center", fontsize=8.5)
    arrow(middle, (0.02, 0.02), (0.98, 0.02), "and the other way round")
    middle.patches[-1].set_arrowstyle("<|-|>", head_length=0.4, head_width=0.2)
    bare(middle, (0, 1), (-0.05, 1))
    return figure


def sums(n_term: int = 1000, n_order: int = 300, seed: int = 1) -> dict[str, Any]:
    """Sums of some terms in many orders: of the terms as they are, and rounded to a quantum."""
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=n_term)
    quantum = quantum_for(float(np.abs(terms).sum()))
    rounded = np.rint(terms / quantum) * quantum
    orders = [rng.permutation(n_term) for _ in range(n_order)]
    # cumsum adds one after the other; sum would add in a tree.
    plain, exact = (np.array([np.cumsum(each[order])[-1] for order in orders]) for each in (terms, rounded))
    return {"plain": plain, "quantum": exact}


def exact_sums() -> Figure:
    """The same terms added in many orders, as they are and rounded to a quantum."""
    found = sums()
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    deviations = {name: values / np.median(values) - 1 for name, values in found.items()}
    bins = np.linspace(-1, 1, 60) * np.abs(deviations["plain"]).max() * 1.1
    titles = {"plain": "terms as they are", "quantum": "terms rounded to a quantum first"}
    for axes, (name, title), colour in zip(figure.subplots(1, 2), titles.items(), (ORANGE, BLUE), strict=True):
        axes.hist(deviations[name], bins=bins.tolist(), color=colour)
        n_value = len(np.unique(found[name]))
        axes.set_title(f"{title}: {n_value} different value{'s' if n_value > 1 else ''}", fontsize=9)
        axes.set(xlabel="relative deviation from the median", ylabel="orders")
    return figure


def split_arrays(n: int = 8) -> Figure:
    """Complex numbers one after the other, and as two arrays."""
    figure = Figure(figsize=(WIDTH, 2), layout="constrained")
    axes = figure.subplots()
    for i in range(n):
        box(axes, (2 * i, 2), (1, 0.7), SKY, f"re {i}")
        box(axes, (2 * i + 1, 2), (1, 0.7), ORANGE, f"im {i}")
        box(axes, (i, 0.5), (1, 0.7), SKY, f"re {i}")
        box(axes, (i + n, 0.5), (1, 0.7), ORANGE, f"im {i}")
    for start, width in ((0, n), (n, n)):
        axes.plot((start + 0.1, start + width - 0.1), (0.35, 0.35), color="0.2", lw=1.5)
        axes.text(start + width / 2, 0.02, "one load fills a vector register", ha="center", va="center", fontsize=8.5)
    axes.text(-0.2, 2.35, "interleaved", ha="right", va="center", fontsize=9)
    axes.text(-0.2, 0.85, "split", ha="right", va="center", fontsize=9)
    bare(axes, (-2.2, 2 * n), (-0.3, 2.8))
    return figure


PICTURES = {
    "holdings": holdings,
    "conveyor": conveyor,
    "models": models,
    "key_values": key_values,
    "slab_transform": slab_transform,
    "exact_sums": exact_sums,
    "split_arrays": split_arrays,
}


def main(folder: Path) -> None:
    """Draw all."""
    folder.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        picture().savefig(folder / f"parallel_{name}.png", dpi=DPI)


if __name__ == "__main__":
    main(IMAGES)
