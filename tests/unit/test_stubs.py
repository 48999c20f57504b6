"""The stubs of the compiled modules say what their functions take and return, according to the signatures built in."""

import ast
import collections.abc
import inspect
import os
import re
import types
import typing
from pathlib import Path

import numpy as np
import pytest

from pycryo import _core
from pycryo.filter import _points, _sampling, _weights
from pycryo.geometry import _turns
from pycryo.io import _pixels
from pycryo.kernels import _samples
from pycryo.refinement.data import _background
from pycryo.refinement.expectation import _families

CYTHON = [_points, _sampling, _weights, _turns, _pixels, _samples, _background, _families]

Argument = tuple[str, bool, object]  # name, whether it has a default, type

# In Cython's signatures, less const and the layout of memory views.
C_TYPES = {"bool": bool, "uint64_t": int, "int64_t": int, "Py_ssize_t": int, "int": int, "double": float}
C_ELEMENTS = {"int32_t": np.int32, "int64_t": np.int64, "float": np.float32, "uint8_t": np.uint8, "double": np.float64}


def stub_of(module: types.ModuleType) -> str:
    """Text of the stub beside the module that is imported."""
    name = module.__name__.rpartition(".")[2]
    return (Path(module.__file__).parent / f"{name}.pyi").read_text(encoding="utf-8")


def arguments(function: ast.FunctionDef, names: dict[str, object]) -> list[Argument]:
    """Arguments of a function, all of them positional or keyword."""
    args = function.args
    assert [args.posonlyargs, args.kwonlyargs, args.vararg, args.kwarg] == [[], [], None, None], function.name
    n_needed = len(args.args) - len(args.defaults)
    return [(each.arg, i >= n_needed, evaluated(each.annotation, names)) for i, each in enumerate(args.args)]


def evaluated(annotation: ast.expr | None, names: dict[str, object]) -> object:
    assert annotation is not None
    return eval(ast.unparse(annotation), names)


class Stub:
    """Public functions and variables of a stub."""

    def __init__(self, text: str):
        self.functions: dict[str, list[tuple[list[Argument], object]]] = {}
        self.variables: dict[str, object] = {}
        names: dict[str, object] = {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                signature = arguments(node, names), evaluated(node.returns, names)
                self.functions.setdefault(node.name, []).append(signature)
            elif isinstance(node, ast.AnnAssign) and not node.target.id.startswith("_"):
                assert node.value is None
                self.variables[node.target.id] = evaluated(node.annotation, names)
            else:  # imports and aliases
                exec(ast.unparse(node), names)


def built_by_pybind11(function: types.BuiltinFunctionType) -> list[tuple[list[Argument], object]]:
    """Arguments and result of each overload, from the docstring."""
    lines = re.findall(rf"^(?:\d+\. )?({function.__name__}\(.*\) -> .*)$", function.__doc__, re.MULTILINE)
    found = []
    for line in lines:
        # What a number may be made from; the stub has the number, so that mypy refuses a float for an int.
        text = re.sub(r"typing\.SupportsInt( \| typing\.SupportsIndex)?", "int", line)
        text = re.sub(r"typing\.SupportsFloat( \| typing\.SupportsIndex)?", "float", text)
        if "(*args, **kwargs)" not in text:  # the head of overloads
            (node,) = ast.parse(f"def {text}: ...").body
            names = {"numpy": np, "typing": typing, "collections": collections}
            found.append((arguments(node, names), evaluated(node.returns, names)))
    return found


def built_by_cython(function: types.FunctionType) -> list[tuple[list[Argument], object]]:
    """Arguments from the signature and the docstring, which has their types; nothing says what is returned."""
    signature = re.match(r"\w+\((.*)\)\n", function.__doc__)[1]
    declared = {
        name: np.typing.NDArray[C_ELEMENTS[kind]] if view else C_TYPES[kind]
        for kind, view, name in re.findall(r"(\w+)(\[[^]]*\])? (\w+)(?:,|$)", signature)
    }
    parameters = inspect.signature(function).parameters.values()
    return [([(each.name, each.default is not each.empty, declared[each.name]) for each in parameters], None)]


def built(module: types.ModuleType) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def differences(text: str, module: types.ModuleType) -> list[str]:
    """What a stub of the given text says otherwise than the module."""
    stub = Stub(text)
    objects = built(module)
    found = [f"{name}: not in both" for name in objects.keys() ^ (stub.functions.keys() | stub.variables.keys())]
    for name in stub.variables.keys() & objects.keys():
        if not isinstance(objects[name], typing.get_origin(stub.variables[name]) or stub.variables[name]):
            found.append(f"{name}: {stub.variables[name]} instead of {type(objects[name])}")
    for name in stub.functions.keys() & objects.keys():
        read = built_by_pybind11 if isinstance(objects[name], types.BuiltinFunctionType) else built_by_cython
        theirs, ours = read(objects[name]), stub.functions[name]
        if len(theirs) != len(ours):
            found.append(f"{name}: {len(ours)} overloads instead of {len(theirs)}")
        for (their_arguments, their_result), (our_arguments, our_result) in zip(theirs, ours, strict=False):
            # The binding of an `object` checks it itself.
            told = {each for each, _, kind in their_arguments if kind is not object}
            if [each[:2] for each in our_arguments] != [each[:2] for each in their_arguments]:
                found.append(f"{name}: arguments {our_arguments} instead of {their_arguments}")
            found += [
                f"{name}: {our} instead of {their}"
                for our, their in zip(our_arguments, their_arguments, strict=False)
                if their[0] in told and our != their
            ]
            if read is built_by_pybind11 and our_result != their_result:
                found.append(f"{name}: result {our_result} instead of {their_result}")
    return found


@pytest.mark.parametrize("module", [_core, *CYTHON], ids=lambda module: module.__name__)
def test_stub(module):
    assert not differences(stub_of(module), module)


@pytest.mark.parametrize(
    ("module", "right", "wrong"),
    [
        (_core, "def isa() -> str", "def isa() -> int"),
        (_core, "def isa() -> str: ...", ""),
        (_core, "kernels: tuple[str, ...]", "kernels: list[str]"),
        (_core, "kernels: tuple[str, ...]", "kernels: tuple[str, ...]\nmore: int"),
        (_core, "k_max: int", "kmax: int"),
        (_core, "threads: int,\n) -> int", "threads: int = 1,\n) -> int"),
        (_core, "k_max: int", "k_max: float"),
        (
            _core,
            "rotation: NDArray[np.int32],\n    is_imaginary: bool",
            "is_imaginary: bool, rotation: NDArray[np.int32]",
        ),
        (_core, "NDArray[np.uint8] | None", "NDArray[np.uint8]"),
        (_core, "parts: list[_KeyValues]", "parts: list[NDArray[np.int64]]"),
        (_core, ") -> _KeyValues", ") -> NDArray[np.int64]"),
        (_core, "points: NDArray[np.float32]", "points: NDArray[np.float64]"),
        (_core, "def gridding_scale(points", "def more(points"),
        (_sampling, "stream: int", "streams: int"),
        (_sampling, "ids: NDArray[np.int64]", "ids: NDArray[np.int32]"),
        (_sampling, "seed: int, stream: int", "stream: int, seed: int"),
        (_sampling, "dimension: int, threads: int", "dimension: int, threads: int = 1"),
        (_weights, "pairs: NDArray[np.float32]", "pairs: NDArray[np.float64]"),
    ],
)
def test_wrong_stub_is_noticed(module, right, wrong):
    text = stub_of(module)
    broken = re.sub(rf"{re.escape(right)}(?!\w)", wrong, text, count=1)
    assert broken != text
    assert differences(broken, module)


def test_results_of_what_cython_compiled(tmp_path):
    (tmp_path / "pixels").write_bytes(bytes(8))
    pixels = os.open(tmp_path / "pixels", os.O_RDONLY)
    ids, weight, offset = np.arange(2), np.full((2, 3), 1 / 3), np.full(2, 0.5)
    rotations, shifts, classes = np.ones((2, 3, 4)) / 2, np.zeros((2, 3, 2)), np.zeros((2, 3), np.int32)
    pick, densities = np.tile(np.arange(3), (2, 1)), (np.zeros((2, 3, 3), np.float32), weight, weight)
    results = {
        _points: {
            "find_modes": _points.find_modes(rotations, weight, classes, offset, 2),
            "gather_mode": _points.gather_mode(rotations, shifts, weight, classes, pick, ids, 1),
            "place_pairs": _points.place_pairs(pick, rotations, shifts, classes, ids, rotations, shifts, classes),
            "rotation_spread": _points.rotation_spread(
                weight, rotations, classes, classes[:, 0].copy(), rotations[:, 0].copy(), offset
            ),
            "shift_spread": _points.shift_spread(weight, shifts, shifts[:, 0].copy(), offset),
            "mean_rotation": _points.mean_rotation(
                weight, rotations, classes, classes[:, 0].copy(), rotations[:, 0].copy(), offset
            ),
            "mean_shift": _points.mean_shift(weight, shifts, shifts[:, 0].copy(), offset),
        },
        _sampling: {
            "uniform": _sampling.uniform(1, 2, ids, 3),
            "normal": _sampling.normal(1, 2, ids, 3),
            "student": _sampling.student(1, 2, 3, ids, 3, 2, 1),
            "move_shifts": _sampling.move_shifts(shifts, pick, shifts, offset),
            "turn_rotations": _sampling.turn_rotations(rotations, pick, rotations[..., 1:].copy(), offset),
            "rotation_proposal_density": _sampling.rotation_proposal_density(
                rotations, rotations, pick, offset, classes, classes, 0.9, 0.1, 1
            ),
            "shift_proposal_density": _sampling.shift_proposal_density(shifts, shifts, pick, offset),
        },
        _weights: {
            "systematic_resample": _weights.systematic_resample(weight, offset, 3),
            "merge_repeats": _weights.merge_repeats(pick),
            "flatten_weights": _weights.flatten_weights(weight, 2.0, 1),
            "best_pairs": _weights.best_pairs(*densities),
            "pair_marginals": _weights.pair_marginals(*densities, classes, classes[:, 0].copy(), 2.0, 1),
            "draw_pairs": _weights.draw_pairs(*densities, offset, 3, 1),
        },
        _turns: {
            "matrices": _turns.matrices(rotations[0]),
            "nearest_mates": _turns.nearest_mates(rotations, rotations[:, 0].copy(), rotations[0]),
            "nearest_points": _turns.nearest_points(
                rotations[0], np.array([0, len(rotations[0])]), 1, rotations[:, 0].copy()
            ),
        },
        _pixels: {
            "read_float16": _pixels.read_float16(pixels, 0, 0, np.zeros(2, np.float32)),
            "read_turned_float32": _pixels.read_turned_float32(pixels, 0, np.zeros(2, np.float32)),
            "send_to_disc": _pixels.send_to_disc(pixels, 0, 8),
            "sums_of": _pixels.sums_of(np.zeros(2, np.float32)),
        },
        _samples: {
            "pick": _samples.pick(np.zeros((2, 3, 2), np.float32), ids, np.zeros((2, 2, 2), np.float32), 1),
            "columns": _samples.columns(np.zeros((2, 3), np.float32), np.arange(2), 1),
            "place": _samples.place(
                np.zeros((2, 2, 3), np.float32), np.arange(3), np.full(3, -1), np.ones(3, np.float32), 4, 1
            ),
        },
        _background: {
            "without_background": _background.without_background(
                np.zeros((2, 3, 3), np.float32), np.arange(4, dtype=np.int32), 1
            ),
            "moments": _background.moments(
                np.zeros((2, 3, 3), np.float32), np.zeros(3, np.int32), np.full(3, 3, np.int32), 1
            ),
            "ramps": _background.ramps(
                np.ones((1, 3, 3), np.float32), np.arange(1), np.arange(4, dtype=np.int32), *np.eye(2, 4), 1, 1.0, 1
            ),
            "count_beyond": _background.count_beyond(
                np.zeros((1, 3, 3), np.float32), np.arange(1), np.zeros(1, np.float32), np.ones(1, np.float32), 1
            ),
            "weigh": _background.weigh(
                np.zeros((2, 2, 3), np.float32),
                np.ones((2, 2), np.float32),
                np.arange(3, dtype=np.int32) // 2,
                np.ones((2, 3), np.float32),
                np.ones(2, np.float32),
                False,
                1,
            ),
        },
        _families: {
            "mark_families": _families.mark_families(
                pick, pick[:, 0].copy(), np.arange(4), np.arange(3), np.ones((1, 2), np.uint8), 1, 3, 32, 1
            )
        },
    }
    os.close(pixels)
    assert list(results) == CYTHON
    for module, found in results.items():
        stub = Stub(stub_of(module))
        assert found.keys() == stub.functions.keys()
        for name, result in found.items():
            ((_, told),) = stub.functions[name]
            parts = result if type(result) is tuple else [result]
            types_of = [
                np.typing.NDArray[each.dtype.type] if isinstance(each, np.ndarray) else None if each is None else int
                for each in parts
            ]
            assert told == (types_of[0] if len(types_of) == 1 else tuple[tuple(types_of)]), name
