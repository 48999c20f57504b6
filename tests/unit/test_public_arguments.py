"""What every public function takes for an array or a number, and what it says of anything else.

All that says the same is taken: lists, numbers of any type and byte order, arrays of any layout, a `Map` for a cube,
SciPy's `Rotation` for matrices, complex numbers for Fourier samples. All else is an `InputError` that names the
argument, what is expected and what came.
"""

import inspect
import re

import numpy as np
import pytest
from phantom import blobs
from scipy.spatial.transform import Rotation

import pycryo

K = pycryo.kernels
BOX, PIXEL = 8, 4.0
RNG = np.random.default_rng(7)
CUBE = blobs().volume(BOX, 12.0)
PIXELS = K.half_plane(BOX, 4)
N = len(PIXELS)
TURNS = Rotation.random(2, random_state=1).as_matrix()
VOLUME = K.fourier_volume(CUBE)
SAMPLES = RNG.normal(size=(2, 2, N))
ENTRIES = K.Entries.of(SAMPLES, TURNS, PIXELS)
SUMS = K.new_accumulators(BOX, r_high=4)
PARTICLES = pycryo.Particles.from_arrays(
    RNG.normal(size=(6, BOX, BOX)), PIXEL, poses=np.zeros((6, 3)), defocus_u=1e4, voltage=300,
    spherical_aberration=2.7, amplitude_contrast=0.1,
)  # fmt: skip
BALL = pycryo.Map(CUBE, PIXEL)
INSIDE = (0.3 * CUBE.max() < CUBE).astype(float)
CTF = {
    "kx": PIXELS.kx, "ky": PIXELS.ky, "frequency_step": 1 / 32, "defocus_u": [1e4, 2e4], "defocus_v": [1e4, 2e4],
    "defocus_angle": [0.0, 1.0], "voltage": 300.0, "spherical_aberration": 2.7, "amplitude_contrast": 0.1,
    "phase_shift": 0.0, "b_factor": [0.0, 10.0], "scale": 1.0,
}  # fmt: skip

# Name, the function, arguments that are right, and what they are: "real" numbers, "whole" ones, a "cube" of finite
# ones or any "density", "rotations" or any "matrices", Fourier "samples" or other "complex" ones, one "number", an
# "object" of pycryo, or "object or text". What is not named is an option, such as `comm`.
CASES = {
    "Map": (pycryo.Map, {"data": CUBE, "pixel_size": PIXEL}, {"data": "density", "pixel_size": "number"}),
    "Particles.from_arrays": (
        pycryo.Particles.from_arrays,
        {
            "images": RNG.normal(size=(2, 8, 8)),
            "pixel_size": 2.0,
            "poses": TURNS,
            "origins": np.ones((2, 2)),
            "defocus_u": [1e4, 2e4],
        },
        {"images": "real", "pixel_size": "number", "poses": "rotations", "origins": "real", "defocus_u": "real"},
    ),
    "abinitio": (pycryo.abinitio, {"particles": PARTICLES}, {"particles": "object"}),
    "corrected_fsc": (
        pycryo.corrected_fsc,
        {"half1": CUBE, "half2": CUBE + 0.1, "pixel_size": 3.0, "mask": INSIDE},
        {"half1": "cube", "half2": "cube", "pixel_size": "number", "mask": "cube"},
    ),
    "ctf": (
        pycryo.ctf,
        CTF,
        {"kx": "whole", "ky": "whole"} | {name: "real" for name in CTF if name not in ("kx", "ky")},
    ),
    "ctf_of": (
        pycryo.ctf_of,
        {"particles": PARTICLES, "pixels": PIXELS, "rows": [0, 3]},
        {"particles": "object", "pixels": "object", "rows": "whole"},
    ),
    "euler_to_matrix": (
        pycryo.euler_to_matrix,
        {"rot": [10.0, 20.0], "tilt": [30.0, 40.0], "psi": [50.0, 60.0]},
        {"rot": "real", "tilt": "real", "psi": "real"},
    ),
    "fsc": (pycryo.fsc, {"a": CUBE, "b": CUBE + 0.1}, {"a": "cube", "b": "cube"}),
    "half_maps": (pycryo.half_maps, {"setup": None, "outcome": None}, {"setup": "object"}),
    "localres": (
        pycryo.localres,
        {"half1": CUBE, "half2": CUBE + 0.1, "mask": INSIDE, "pixel_size": 3.0},
        {"half1": "cube", "half2": "cube", "mask": "cube", "pixel_size": "number"},
    ),
    "low_pass": (
        pycryo.low_pass,
        {"source": BALL, "resolution": 20.0, "edge_px": 2.0},
        {"source": "object", "resolution": "number", "edge_px": "number"},
    ),
    "mask": (
        pycryo.mask,
        {"source": CUBE, "pixel_size": 4.0, "resolution": 30.0, "threshold": 0.1},
        {"source": "cube", "pixel_size": "number", "resolution": "number", "threshold": "number"},
    ),
    "matrix_to_euler": (pycryo.matrix_to_euler, {"matrix": TURNS}, {"matrix": "rotations"}),
    "postprocess": (
        pycryo.postprocess,
        {"half1": CUBE, "half2": CUBE + 0.1, "mask": INSIDE, "pixel_size": 4.0},
        {"half1": "cube", "half2": "cube", "mask": "cube", "pixel_size": "number"},
    ),
    "project": (
        pycryo.project,
        {"map": CUBE, "rotations": TURNS, "shifts": np.ones((2, 2)), "padding": 2, "r_high": 3.0},
        {"map": "cube", "rotations": "rotations", "shifts": "real", "padding": "number", "r_high": "number"},
    ),
    "read_images": (
        pycryo.read_images,
        {"source": PARTICLES, "rows": [0, 3]},
        {"source": "object or text", "rows": "whole"},
    ),
    "reconstruct": (pycryo.reconstruct, {"particles": PARTICLES}, {"particles": "object"}),
    "refine": (
        pycryo.refine,
        {"particles": PARTICLES, "reference": BALL},
        {"particles": "object", "reference": "object"},
    ),
    "resample": (
        pycryo.resample,
        {"source": BALL, "box": 12, "pixel_size": 3.0},
        {"source": "object", "box": "number", "pixel_size": "number"},
    ),
    "simulate": (pycryo.simulate, {"model": BALL, "n": 2}, {"model": "object"}),
    "symmetry": (pycryo.symmetry, {"name": "D2"}, {"name": "object or text"}),
    "write_map": (
        lambda data, pixel_size: pycryo.write_map("map.mrc", data, pixel_size),
        {"data": CUBE, "pixel_size": 3.0},
        {"data": "density", "pixel_size": "number"},
    ),
    "write_particles": (
        lambda particles: pycryo.write_particles("some.star", particles),
        {"particles": PARTICLES},
        {"particles": "object"},
    ),
    "kernels.Entries.of": (
        K.Entries.of,
        {
            "images": SAMPLES,
            "rotations": TURNS,
            "pixels": PIXELS,
            "weights": np.ones((2, N)),
            "shifts": np.ones((2, 2)),
        },
        {"images": "samples", "rotations": "matrices", "weights": "real", "shifts": "real", "pixels": "object"},
    ),
    "kernels.FourierVolume.from_dense": (
        K.FourierVolume.from_dense,
        {"dense": VOLUME.dense, "box": BOX},
        {"dense": "complex"},
    ),
    "kernels.Pixels.from_images": (PIXELS.from_images, {"images": RNG.normal(size=(2, 8, 8))}, {"images": "real"}),
    "kernels.Pixels.to_images": (PIXELS.to_images, {"samples": SAMPLES}, {"samples": "samples"}),
    "kernels.adjoint_volume": (K.adjoint_volume, {"dense": VOLUME.dense, "box": BOX}, {"dense": "complex"}),
    "kernels.compare": (
        lambda slices, log_prior_shift, log_prior_slice: K.compare(
            K.pack_images(SAMPLES[:, None], np.ones((2, N))),
            slices,
            K.new_best(2, 1),
            log_prior_shift=log_prior_shift,
            log_prior_slice=log_prior_slice,
        ),
        {"slices": RNG.normal(size=(5, 2, N)), "log_prior_shift": np.zeros((2, 1)), "log_prior_slice": np.zeros(5)},
        {"slices": "samples", "log_prior_shift": "real", "log_prior_slice": "real"},
    ),
    "kernels.compare_local": (
        K.compare_local,
        {
            "volumes": VOLUME,
            "rotations": TURNS[:, None],
            "shifts": np.ones((2, 3, 2)),
            "images": SAMPLES,
            "weights": np.ones((2, N)),
            "pixels": PIXELS,
            "classes": np.zeros((2, 1)),
            "places": [0, 1],
        },
        {
            "volumes": "object",
            "rotations": "real",
            "shifts": "real",
            "images": "samples",
            "weights": "real",
            "pixels": "object",
            "classes": "whole",
            "places": "whole",
        },
    ),
    "kernels.compare_scores": (
        lambda slices: K.compare_scores(K.pack_images(SAMPLES[:, None], np.ones((2, N))), slices),
        {"slices": RNG.normal(size=(5, 2, N))},
        {"slices": "samples"},
    ),
    "kernels.defocus_scores": (
        K.defocus_scores,
        {
            "sums": np.ones((1, 1, 2, 4)),
            "phase": np.ones((1, 2)),
            "first": np.ones(1),
            "step": np.ones(1),
            "n_delta": 3,
        },
        {"sums": "real", "phase": "real", "first": "real", "step": "real"},
    ),
    "kernels.defocus_sums": (
        K.defocus_sums,
        {
            "images": SAMPLES[:, None],
            "slices": SAMPLES[:, None],
            "weights": np.ones((2, N)),
            "sine": np.ones((2, N)),
            "cosine": np.ones((2, N)),
            "bin": PIXELS.shell,
            "n_bin": 5,
        },
        {"images": "samples", "slices": "samples", "weights": "real", "sine": "real", "cosine": "real", "bin": "whole"},
    ),
    "kernels.fourier_volume": (
        K.fourier_volume,
        {"map": CUBE, "padding": 2, "r_high": 3.0},
        {"map": "cube", "padding": "number", "r_high": "number"},
    ),
    "kernels.half_plane": (
        K.half_plane,
        {"box": 8, "r_high": 4.0, "r_low": 1.0},
        {"box": "number", "r_high": "number", "r_low": "number"},
    ),
    "kernels.image_shells": (
        K.image_shells,
        {"a": SAMPLES, "b": SAMPLES, "shell": PIXELS.shell, "n_shell": 5},
        {"a": "samples", "b": "samples", "shell": "whole"},
    ),
    "kernels.insert": (
        lambda entries: K.insert(K.new_accumulators(BOX, r_high=4), entries),
        {"entries": ENTRIES},
        {"entries": "object"},
    ),
    "kernels.entry_quanta": (K.entry_quanta, {"entries": ENTRIES}, {"entries": "object"}),
    "kernels.fold_hermitian": (K.fold_hermitian, {"accumulators": SUMS}, {"accumulators": "object"}),
    "kernels.merge_key_values": (K.merge_key_values, {"parts": []}, {}),
    "kernels.new_accumulators": (K.new_accumulators, {"box": 8, "r_high": 4.0}, {"box": "number", "r_high": "number"}),
    "kernels.new_best": (K.new_best, {"n_image": 2, "n_best": 3}, {"n_image": "number", "n_best": "number"}),
    "kernels.pack_images": (
        K.pack_images,
        {"images": SAMPLES[:, None], "weights": np.ones((2, N))},
        {"images": "samples", "weights": "real"},
    ),
    "kernels.pack_slices": (K.pack_slices, {"slices": SAMPLES}, {"slices": "samples"}),
    "kernels.project_images": (
        K.project_images,
        {"volume": VOLUME, "rotations": TURNS, "pixels": PIXELS, "shifts": np.ones((2, 2))},
        {"volume": "object", "rotations": "matrices", "pixels": "object", "shifts": "real"},
    ),
    "kernels.project_slices": (
        K.project_slices,
        {"volume": VOLUME, "rotations": TURNS, "kx": PIXELS.kx, "ky": PIXELS.ky, "curvature": np.zeros(2)},
        {"volume": "object", "rotations": "matrices", "kx": "whole", "ky": "whole", "curvature": "real"},
    ),
    "kernels.shift": (
        K.shift,
        {"images": SAMPLES, "kx": PIXELS.kx, "ky": PIXELS.ky, "shifts": np.ones((2, 1, 2)), "box": BOX},
        {"images": "samples", "kx": "whole", "ky": "whole", "shifts": "real"},
    ),
    "kernels.to_key_values": (
        lambda entries: K.to_key_values(SUMS.sphere, entries, box=BOX, padding=2, quantum=(2.0**-40, 2.0**-40)),
        {"entries": ENTRIES},
        {"entries": "object"},
    ),
    "kernels.volume_shells": (
        K.volume_shells,
        {"a": np.fft.rfftn(CUBE), "b": np.fft.rfftn(CUBE)},
        {"a": "complex", "b": "complex"},
    ),
}
# Made by functions, or without arguments that are numbers.
NO_NUMBERS = {
    "AbinitioOptions", "InitialModel", "InputError", "LocalOptions", "LocalResolution", "Particles",
    "PostprocessOptions", "PostprocessResult", "RefineOptions", "Result", "RunError", "betagal", "read_map",
    "read_particles", "kernels.Accumulators", "kernels.BestPoses", "kernels.Entries", "kernels.FourierVolume",
    "kernels.ImagePanel", "kernels.KeyValues", "kernels.Pixels", "kernels.SlicePanel", "kernels.ctf", "kernels.project",
}  # fmt: skip
EACH = [(name, argument, kind) for name, (_, _, kinds) in CASES.items() for argument, kind in kinds.items()]
ARRAYS = [each for each in EACH if each[2] not in ("number", "object", "object or text")]


def call(case, /, **changes):
    function, arguments, _ = CASES[case]
    return function(**arguments | changes)


def test_every_public_function_is_here():
    functions = {name for name, value in vars(K).items() if callable(value) and not inspect.ismodule(value)}
    functions = {f"kernels.{name}" for name in functions if not name.startswith("_")}
    assert {*pycryo.__all__, *functions} <= {*CASES, *NO_NUMBERS}
    for name, (function, arguments, kinds) in CASES.items():
        assert set(kinds) <= set(arguments), name
        assert callable(function)


def alike(value, kind):
    """Other objects that say the same."""
    array = np.asarray(value)
    yield array.tolist()
    for dtype in (array.dtype.newbyteorder(">"), np.float64, np.float32):
        if not (array.dtype.kind == "c" and np.dtype(dtype).kind == "f"):
            yield array.astype(dtype)
    if array.ndim:
        yield np.repeat(array[None], 2, axis=0)[1]
        yield np.asfortranarray(array)
        yield np.repeat(array, 2, axis=-1)[..., ::2]
    if kind in ("cube", "density"):
        yield pycryo.Map(array, PIXEL)
    if kind in ("rotations", "matrices"):
        yield Rotation.from_matrix(array)
    if kind == "samples":
        yield array[..., 0, :] + 1j * array[..., 1, :]
    if kind == "whole":
        yield array.astype(np.int64)
        yield array.astype(np.int16)


@pytest.mark.parametrize(("name", "argument", "kind"), ARRAYS, ids=lambda value: str(value))
def test_what_says_the_same_is_taken(name, argument, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in alike(CASES[name][1][argument], kind):
        changes = {argument: given}
        if isinstance(given, pycryo.Map) and "pixel_size" in CASES[name][1]:
            changes["pixel_size"] = PIXEL
        call(name, **changes)


@pytest.mark.parametrize(("name", "argument", "kind"), ARRAYS, ids=lambda value: str(value))
def test_whole_numbers_of_64_bits_are_taken(name, argument, kind, tmp_path, monkeypatch):
    """Where whole numbers can say what is meant."""
    monkeypatch.chdir(tmp_path)
    given = np.rint(8 * np.real(CASES[name][1][argument])).astype(np.int64)
    try:
        call(name, **{argument: given})
    except pycryo.InputError as error:
        assert_told(error, argument)


def assert_told(error, argument):
    """The argument, what is expected, what came."""
    text = str(error)
    assert argument in text
    assert re.search("expected|must|needs|no argument|not finite|but the", text)
    assert re.search("got|not|these go|element . is|has", text)
    assert "\n" not in text
    assert len(text) < 400


def wrong(value, kind):
    """Objects that say nothing of the kind."""
    if kind != "object or text":
        yield "a word"
    yield {"a": 1}
    yield [object()]
    if kind.startswith("object"):
        yield 3.5
        yield np.zeros((2, 2, 2))
        return
    if kind == "number":
        yield [1.0, 2.0]
        yield np.nan
        yield 1j
        return
    array = np.asarray(value)
    if kind not in ("samples", "complex"):
        yield array + 1j
    yield np.zeros((1, *array.shape, 1, 1, 1))
    if kind in ("rotations", "matrices"):
        yield np.full(array.shape, np.nan)
    if kind == "rotations":
        yield 2 * array
    if kind == "cube":
        yield np.full(array.shape, np.nan)
    if kind == "whole":
        yield array + 0.5
        yield np.full(array.shape, np.nan)


@pytest.mark.parametrize(("name", "argument", "kind"), EACH, ids=lambda value: str(value))
def test_all_else_is_told(name, argument, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in wrong(CASES[name][1][argument], kind):
        with pytest.raises(pycryo.InputError) as caught:
            call(name, **{argument: given})
        assert_told(caught.value, argument)
    assert not list(tmp_path.iterdir())
