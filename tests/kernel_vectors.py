"""Calls of all kernels with what their float64 twins make of them, as a file for csrc/self_test.

``python kernel_vectors.py FILE``. Arguments come from the kernels' unit tests, and so do the tolerances, which are
derived there.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "unit" / "kernels"))

import test_backprojector
import test_compare
import test_compare_local
import test_ctf
import test_defocus_scores
import test_gridding
import test_images
import test_keyvalue
import test_mates
import test_projector
import test_shells
from octahedral import cube_rotations

from pycryo.kernels.backprojector import new_accumulators
from pycryo.kernels.ctf import _checked, _coefficients
from pycryo.kernels.gridding import _place
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference import (
    compare,
    compare_local,
    ctf,
    defocus_scores,
    gridding,
    images,
    keyvalue,
    mates,
    projector,
    shells,
    shift,
)
from pycryo.kernels.sphere import sphere

TITLE = "pycryo kernel vectors 1"
EPSILON = 6e-8  # of float32


@dataclass(frozen=True)
class Case:
    """A call: what is called, arguments by name, and results by name with their greatest difference."""

    kernel: str
    function: str
    arguments: dict[str, Any]
    results: dict[str, tuple[Any, float]]


def ctf_cases(rng: np.random.Generator) -> Iterator[Case]:
    for b_factor, n in ((0.0, 33), (80.0, 128)):
        pixels = half_plane(2 * n, n - 1)
        optics = test_ctf.random_optics(rng, 4) | {"b_factor": b_factor, "scale": 1.0}
        offset, which = rng.uniform(-20, 20, (3, len(pixels))), np.array([2, -1, 0, 1], np.int32)
        arguments = {"coefficients": _coefficients(_checked(optics | {"b_factor": np.full(4, b_factor)}))}
        arguments |= {"kx": pixels.kx, "ky": pixels.ky, "offset": offset, "which": which}
        expected = ctf.ctf(pixels.kx, pixels.ky, **optics, offset=offset, which=which)
        yield Case("ctf", "ctf", arguments, {"out": (expected.astype(np.float32), 1e-6)})


def shift_cases(rng: np.random.Generator) -> Iterator[Case]:
    for box, r_high in ((16, 5), (65, 31)):
        pixels = half_plane(box, r_high)
        images = rng.standard_normal((3, 2, len(pixels))).astype(np.float32)
        shifts = rng.uniform(-box, box, (3, 7, 2))
        arguments = {"images": images, "kx": pixels.kx, "ky": pixels.ky, "shifts": shifts, "box": float(box)}
        k_max = np.int32(max(np.abs(pixels.kx).max(), np.abs(pixels.ky).max()))
        expected = shift.shift(images.astype(float), pixels.kx, pixels.ky, shifts, box)
        results = {"out": (expected.astype(np.float32), 6 * 5 * EPSILON)}
        yield Case("shift", "shift", arguments | {"k_max": k_max}, results)


def shells_cases(rng: np.random.Generator) -> Iterator[Case]:
    pixels = half_plane(65, 32)
    a, b = (test_shells.random_images(rng, 3, pixels) for _ in range(2))
    expected = shells.image_shells(a, b, pixels.shell, 35)
    yield Case("shells", "image_shells", {"a": a, "b": b, "shell": pixels.shell}, {"out": (expected, 1e-11)})
    for box, real in ((16, np.float32), (17, np.float64)):
        of_complex = np.result_type(real, np.complex64)
        epsilon = EPSILON if real is np.float32 else 1e-16
        maps = rng.standard_normal((2, box, box, box))
        number = np.array([box - 1, 3, 0])
        a, b = (np.fft.rfftn(each)[number].astype(of_complex).view(real).reshape(3, box, -1, 2) for each in maps)
        expected = shells.layer_shells(*maps, box // 2 + 1)[number]
        results = {"out": (expected, 10 * 2 * box**6 * epsilon)}
        name = "layer_shells of floats" if real is np.float32 else "layer_shells of doubles"
        yield Case("shells", name, {"a": a, "b": b, "number": number}, results)


def projector_cases(rng: np.random.Generator) -> Iterator[Case]:
    pixels = half_plane(32, 15)
    volume, rotations = test_projector.random_volume(rng, 16), test_projector.random_rotations(rng, 5)
    arguments = {"volume": volume.data, "rotations": rotations, "kx": pixels.kx, "ky": pixels.ky, "step": 2.0}
    for curvature in (None, np.array([0.001, -0.001, 0, 0.002, 0])):
        expected = projector.project_slices(
            test_projector.as_complex(volume), rotations, pixels.kx, pixels.ky, 2.0, curvature
        )
        bent = {} if curvature is None else {"curvature": curvature}
        atol = 6 * 33 * 3 * EPSILON * 10 + 10 * 10 * EPSILON
        yield Case("projector", "project_slices", arguments | bent, {"out": (expected.astype(np.float32), atol)})


def images_cases(rng: np.random.Generator) -> Iterator[Case]:
    for box in (30, 32):
        pixels = half_plane(box, box / 2)
        samples = rng.standard_normal((3, 2, len(pixels))).astype(np.float32)
        arguments = {"samples": samples, "kx": pixels.kx, "ky": pixels.ky, "box": np.int32(box)}
        expected = images.images(samples.astype(float), pixels.kx, pixels.ky, box).astype(np.float32)
        yield Case("images", "images", arguments, {"out": (expected, test_images.tolerance(box))})


def compare_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_pixel, has_active in ((1, False), (127, True), (300, False)):
        images, weights, slices, *priors = test_compare.problem(rng, 7, 5, 45, n_pixel)
        active = rng.random((7, 2)) < 0.6 if has_active else None
        if active is not None:
            active[:, 0] = True  # else an image has no score
        exact = (each.astype(float) for each in (images, weights, slices, *priors))
        scores = compare.scores(*exact, active)
        score, index = compare.best_poses(scores, 9)
        near = np.diff(score, axis=1) > -2 * test_compare.SCORE_ERROR
        score, index = score[~near.any(axis=1)], index[~near.any(axis=1)]
        assert len(score) == 7, "scores so near that their order is a matter of rounding: take another seed"
        arguments = {"images": images, "weights": weights, "slices": slices, "n_group": 3}
        arguments |= dict(zip(("prior_shift", "prior_slice"), priors, strict=True))
        results = {"score": (score.astype(np.float32), test_compare.SCORE_ERROR), "index": (index, 0.0)}
        results["log_evidence"] = (compare.log_sum_exp(scores), test_compare.EVIDENCE_ERROR)
        if active is None:
            results["scores"] = (scores.astype(np.float32), test_compare.SCORE_ERROR)
        else:
            arguments["active"] = active.astype(np.uint8)
        yield Case("compare", "compare", arguments, results)


def compare_local_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_pixel, n_rotation, n_shift in ((17, 5, 9), (513, 14, 3)):
        volume, rotations, shifts, images, weights, pixels = test_compare_local.problem(
            rng, 3, n_rotation, n_shift, n_pixel
        )
        other = test_compare_local.problem(rng, 1, 1, 1, 1)[0]
        places = np.array([2, 0, 2])
        classes = rng.integers(0, 2, (3, n_rotation)).astype(np.int32)
        work = (rotations, shifts, images[places].astype(float), weights[places].astype(float), pixels)
        of_class = [
            compare_local.compare_local(test_projector.as_complex(each), *work, step=2.0) for each in (volume, other)
        ]
        expected = np.where(classes[..., None] == 0, *of_class).astype(np.float32)
        arguments = {"volume": volume.data, "other_volume": other.data, "classes": classes, "rotations": rotations}
        arguments |= {"shifts": shifts, "places": places, "images": images, "weights": weights}
        arguments |= {"kx": pixels.kx, "ky": pixels.ky, "box": float(pixels.box), "step": 2.0}
        results = {"scores": (expected, test_compare_local.tolerance(n_pixel))}
        yield Case("compare_local", "compare_local", arguments, results)


def defocus_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_pixel, n_delta in ((3, 1), (500, 33)):
        *samples, bin = test_defocus_scores.problem(rng, 3, 4, n_pixel)
        names = ("images", "slices", "weights", "sine", "cosine", "bin", "phase", "first", "step")
        phase = rng.uniform(0, 0.01, (3, 7))
        first, step = rng.uniform(-1000, 0, 3), rng.uniform(10, 100, 3)
        turn = phase[:, None, bin] * (first[:, None] + step[:, None] * np.arange(n_delta))[:, :, None]
        expected = defocus_scores.defocus_scores(*(each.astype(float) for each in samples), turn)
        arguments = dict(zip(names, (*samples, bin, phase, first, step), strict=True))
        yield Case("defocus_scores", "defocus_scores", arguments, {"scores": (expected, 40 * 1e4 * 1e-15)})


def insertion_cases(rng: np.random.Generator) -> Iterator[Case]:
    """For all kernels that insert: flat and curved images, a slab, rounded contributions."""
    for box, r_high, layers, bent, quantum in ((33, 16.5, None, False, 0.0), (64, 20, (20, 50), True, 2.0**-40)):
        work = test_backprojector.random_work(rng, box, r_high, 2, 5)
        if bent:
            work = replace(work, curvature=np.array([0.01, -0.01, 0.05, 0, -0.1]))
        empty = new_accumulators(box, r_high=r_high, layers=layers)
        value, weight = test_backprojector.twin_of(empty, work)
        arguments = {name: getattr(work, name) for name in ("images", "weights", "rotations", "shifts", "kx", "ky")}
        arguments |= {"entry_image": work.image, "entry_weight": work.weight, "box": float(box), "magnification": 2.0}
        arguments |= {"radius": np.int32(empty.sphere.radius), "start": empty.sphere.start, "quantum": quantum}
        arguments |= {"first": np.int32(empty.first), "last": np.int32(empty.last)}
        if work.curvature is not None:
            arguments["curvature"] = work.curvature
        atol = test_backprojector.tolerance(5) + 8 * 5 * quantum
        results = {"re": (value.real, atol), "im": (value.imag, atol), "weight": (weight, atol)}
        # Flat images, all layers: samples are in several tiles where they are at all.
        least = 0 if bent else 5 * int((np.hypot(work.kx, work.ky) * 2 < empty.sphere.radius - 1).sum())
        for kernel in ("backprojector", "keyvalue", "tiles"):
            own = {"least_samples": least} if kernel == "tiles" else {}
            yield Case(kernel, "insertion", arguments | own, results)


def merge_cases(rng: np.random.Generator) -> Iterator[Case]:
    for sizes, most in (((0, 300, 20), 40), ((3000, 5000, 1, 0, 4000), 2**40)):
        parts = [test_keyvalue.random_sums(rng, n, most) for n in sizes]
        arguments: dict[str, Any] = {"n_list": len(sizes)}
        for number, part in enumerate(map(test_keyvalue.key_values_of, parts)):
            arguments |= {f"{name}{number}": getattr(part, name) for name in ("key", "re", "im", "weight")}
        merged = test_keyvalue.key_values_of(keyvalue.merge_key_values(parts))
        results = {name: (getattr(merged, name), 0.0) for name in ("key", "re", "im", "weight")}
        yield Case("keyvalue", "merge_key_values", arguments, results)


def mates_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Each voxel is added to once: no bit may be another."""
    ball = sphere(9)
    value, before = test_mates.folded(ball, rng), rng.standard_normal(ball.n_voxel)
    layers = np.array([0, ball.layers, 0, ball.layers], np.int32)
    for number, rotation in enumerate(cube_rotations()):
        source = np.ascontiguousarray(value.imag if number % 2 else value.real)
        expected = mates.at_mates(ball, value, rotation)
        arguments = {"rotation": rotation, "is_imaginary": np.uint8(number % 2), "radius": np.int32(9)}
        arguments |= {"layers": layers, "start": ball.start, "source": source, "before": before}
        results = {"target": (before + (expected.imag if number % 2 else expected.real), 0.0)}
        yield Case("mates", "add_mates", arguments, results)


def gridding_cases(rng: np.random.Generator) -> Iterator[Case]:
    for real in (np.float32, np.float64):
        kind = "floats" if real is np.float32 else "doubles"
        for padding, r_high, n in test_gridding.SETTINGS[:4]:
            ball = test_gridding.make(padding, r_high, n)
            for layer in (0, ball.sphere.radius // 2, ball.sphere.radius):
                yield Case("gridding", f"layer of {kind}", *gridding_layer(ball, layer, n, real, rng))
        points, along_y, along_x = (rng.standard_normal(shape).astype(real) for shape in ((9, 17), 9, 17))
        expected = gridding.scale(points, along_y, along_x)
        arguments = {"points": points, "along_y": along_y, "along_x": along_x}
        atol = 2.5 * float(np.finfo(real).eps) * np.abs(expected).max()
        yield Case("gridding", f"plane of {kind}", arguments, {"scaled": (expected.astype(real), atol)})


def gridding_layer(ball: Any, layer: int, n: int, real: Any, rng: np.random.Generator) -> tuple[dict, dict]:
    """Arguments and results of all that is done to a layer."""
    size, width = test_gridding.n_voxel(ball, layer), min(ball.reach, ball.sphere.radius) + 1
    weight, (re, im) = rng.uniform(0, 5, size), rng.standard_normal((2, size))
    add, w = rng.uniform(0.1, 1, ball.n_shell), rng.uniform(0.5, 2, size)
    samples = (1 + 1.1 * rng.uniform(-1, 1, (n, width)) + 3j).astype(np.result_type(real, np.complex64))
    start, y, reach, inside, shells_per_px = _place(ball, layer)
    parts = lambda values: values.astype(samples.dtype).view(real).reshape(n, width, 2)  # noqa: E731
    arguments = {"start": start, "radius": ball.sphere.radius, "y": y, "reach": reach, "inside": inside}
    arguments |= {"shells_per_px": shells_per_px, "weight": weight, "add": add, "w": w, "re": re, "im": im}
    exact = samples.astype(complex)
    results = {
        "sums": (gridding.shell_sums(ball, layer, weight).astype(float), 1e-12),
        "first_w": (gridding.first_weight(ball, layer, weight, add), 0.0),
        "product": (gridding.product(ball, layer, weight, add, w), 3e-16 * 12),  # values up to 12
        "placed": (parts(gridding.place(ball, layer, re + 1j * im, n, width)), 0.0),
        "placed_real": (parts(gridding.place(ball, layer, re + 0j, n, width)), 0.0),
        "deviation": (np.array([gridding.deviation(ball, layer, exact)]), 0.0),
        "divided": (gridding.divide(ball, layer, exact, w), 0.0),
    }
    return arguments | {"samples": parts(samples)}, results


SOURCES = (ctf_cases, shift_cases, shells_cases, projector_cases, compare_cases, compare_local_cases, defocus_cases)
SOURCES += (insertion_cases, merge_cases, mates_cases, gridding_cases, images_cases)


def all_cases() -> list[Case]:
    """The same ones each time."""
    return [case for number, source in enumerate(SOURCES) for case in source(np.random.default_rng(number))]


def write(path: Path, cases: list[Case]) -> None:
    """Write a file for csrc/self_test (its reader is case.cpp)."""
    with path.open("wb") as file:

        def text(value: str) -> None:
            file.write(struct.pack("<I", len(value)) + value.encode())

        def array(name: str, value: Any, tolerance: float) -> None:
            values = np.ascontiguousarray(value)
            text(name)
            text(values.dtype.str[1:])
            shape = np.shape(value)
            file.write(struct.pack(f"<dI{len(shape)}q", tolerance, len(shape), *shape) + values.tobytes())

        text(TITLE)
        file.write(struct.pack("<I", len(cases)))
        for case in cases:
            text(case.kernel)
            text(case.function)
            file.write(struct.pack("<I", len(case.arguments) + len(case.results)))
            for name, value in case.arguments.items():
                array(name, value, -1.0)
            for name, (value, tolerance) in case.results.items():
                array(name, value, tolerance)


if __name__ == "__main__":
    write(Path(sys.argv[1]), all_cases())
