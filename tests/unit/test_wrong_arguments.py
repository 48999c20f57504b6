"""Options, flags, paths, rows and callables of a wrong kind are named; nothing fails deep inside, nothing passes."""

import copy
import pickle

import numpy as np
import pytest
from phantom import blobs

import pycryo
from pycryo.option_fields import check_types
from pycryo.postprocessing.sharpen import Filter
from pycryo.refinement.reconstruct_options import ReconstructOptions
from pycryo.simulation.options import SimulateOptions
from pycryo.threads import set_threads, threads_or_default

MAP = pycryo.Map(blobs().volume(8, 12.0), 4.0)
HALVES = [pycryo.Map(MAP.data + 0.02 * np.random.default_rng(seed).normal(size=(8, 8, 8)), 4.0) for seed in (1, 2)]
OTHER = pycryo.Map(MAP.data, 5.0)


class OnGpu:
    """An object that NumPy cannot convert, as tensors of a GPU are."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("it is on the GPU")


class Tensor:
    """An object that NumPy can convert."""

    def __array__(self, dtype=None, copy=None):
        return np.asarray(MAP.data, dtype)


WRONG = (
    "abc", b"abc", [1], {}, {1}, 1j, np.nan, np.zeros(3), np.zeros((0, 0)), object(), OnGpu(), OTHER, len, -1, 0.5,
)  # fmt: skip
OPTIONS = {
    pycryo.RefineOptions: {},
    pycryo.AbinitioOptions: {},
    pycryo.LocalOptions: {},
    pycryo.PostprocessOptions: {},
    ReconstructOptions: {},
    SimulateOptions: {},
    Filter: {},
}


@pytest.fixture(scope="module")
def particles():
    return pycryo.simulate(MAP, n=12, snr=5, seed=1, shift_sd=0.1)


@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_options_of_wrong_types_are_named(kind):
    """A value either is of the field's type then, or is refused: none is kept as it came."""
    for name in kind.__dataclass_fields__:
        for wrong in WRONG:
            try:
                made = kind(**{name: wrong})
            except pycryo.InputError:
                continue
            assert isinstance(getattr(made, name), (bool, int, float, str)), (name, wrong)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_iter": "3"}, "max_iter: expected a whole number, got str '3'"),
        ({"max_iter": 2.5}, "max_iter: expected a whole number, got 2.5"),
        ({"max_iter": True}, "max_iter: expected a whole number, got bool True"),
        ({"ctf": "no"}, "ctf: expected True or False, got str 'no'"),
        ({"diameter": "180 Å"}, "diameter: expected a number, got str '180 Å'"),
        ({"mask": 3}, "mask: expected text, got int 3"),
        ({"model": 3}, "model: expected text, got int 3"),
        ({"symmetry": None}, "symmetry: expected text, got NoneType None"),
    ],
)
def test_words_about_options(options, words):
    with pytest.raises(pycryo.InputError, match=words):
        pycryo.RefineOptions(**options)


def test_numbers_of_numpy_and_paths_are_taken_as_options(tmp_path):
    made = pycryo.RefineOptions(max_iter=np.int64(3), diameter=np.float32(50), ctf=np.True_, mask=tmp_path, classes=2.0)
    assert (made.max_iter, made.diameter, made.ctf, made.mask, made.classes) == (3, 50.0, True, str(tmp_path), 2)
    assert {type(each) for each in (made.max_iter, made.classes)} == {int}
    assert type(made.diameter) is float
    assert type(made.ctf) is bool
    check_types(made)


def test_threads():
    assert threads_or_default(np.int32(3)) == 3
    for wrong in (0, -1, 1.5, "2", True, [], OnGpu(), 10**9):
        for call in (
            lambda wrong=wrong: pycryo.fsc(*HALVES, threads=wrong),
            lambda wrong=wrong: pycryo.project(MAP, np.eye(3), threads=wrong),
            lambda wrong=wrong: set_threads(wrong),
        ):
            with pytest.raises(pycryo.InputError, match="threads: expected a whole number"):
                call()


@pytest.mark.parametrize("wrong", [None, 3, [1], b"a", len, np.zeros(3)], ids=str)
def test_paths(wrong, particles):
    for call in (
        lambda: pycryo.read_map(wrong),
        lambda: pycryo.read_particles(wrong),
        lambda: pycryo.write_map(wrong, MAP),
        lambda: pycryo.write_particles(wrong, particles),
    ):
        with pytest.raises(pycryo.InputError, match="path: expected a path, got"):
            call()


def test_maps_of_other_pixel_size_are_not_compared():
    for call in (
        lambda: pycryo.fsc(MAP, OTHER),
        lambda: pycryo.corrected_fsc(MAP, OTHER),
        lambda: pycryo.corrected_fsc(*HALVES, mask=pycryo.Map(np.ones((8, 8, 8)), 5.0)),
        lambda: pycryo.localres(*HALVES, pycryo.Map(np.ones((8, 8, 8)), 5.0)),
        lambda: pycryo.postprocess(MAP, OTHER),
    ):
        with pytest.raises(pycryo.InputError, match=r"differ in .*pixel size"):
            call()


def test_maps_and_numbers_that_mean_nothing():
    bad = pycryo.Map(np.full((8, 8, 8), np.nan), 4.0)
    masked = np.ma.masked_array(MAP.data, MAP.data > 0.1)
    for words, call in (
        ("source: expected finite numbers", lambda: pycryo.low_pass(bad, 20)),
        ("source: expected finite numbers", lambda: pycryo.resample(bad, 9, 3.0)),
        ("without masked elements", lambda: pycryo.Map(masked, 4.0)),
        ("it is on the GPU", lambda: pycryo.Map(OnGpu(), 4.0)),
        ("resolution: expected a positive number", lambda: pycryo.mask(MAP, resolution=-5)),
        ("extend_px: expected a number from 0", lambda: pycryo.mask(MAP, extend_px=-1)),
        ("edge_px: expected a number from 0", lambda: pycryo.low_pass(MAP, 20, edge_px=-1)),
        ("pixel_size: expected a positive number", lambda: pycryo.corrected_fsc(*HALVES, pixel_size=-1)),
        ("seed: expected", lambda: pycryo.corrected_fsc(*HALVES, mask=np.ones((8, 8, 8)), seed=np.nan)),
        ("randomise_by: expected", lambda: pycryo.corrected_fsc(*HALVES, randomise_by="neither")),
        ("mask: expected numbers from 0 to 1", lambda: pycryo.corrected_fsc(*HALVES, mask=np.full((8, 8, 8), 7))),
        ("mask: expected shape", lambda: pycryo.postprocess(*HALVES, np.ones((1, 1, 1)))),
        ("pixel_size: expected a positive number", lambda: pycryo.write_map("no.mrc", MAP.data, 0)),
        ("curve: expected", lambda: pycryo.corrected_fsc(*HALVES).resolution_at(0.5, "best")),
        ("options: expected PostprocessOptions", lambda: pycryo.postprocess(*HALVES, options={"seed": 1})),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            call()
    np.testing.assert_array_equal(pycryo.Map(Tensor(), 4.0).data, MAP.data)


def test_rows_and_columns(particles):
    with pytest.raises(IndexError, match="there are 12 particles, there is no number 12"):
        particles[12]
    assert len(list(particles)) == 12  # the error above ends it
    assert [each.n for each in (particles[-1], particles[[]], particles[::5])] == [1, 0, 3]
    for wrong in ([0.5], [12], "abc", None, 1.5, [True], np.zeros((2, 2), int), OnGpu(), {}):
        with pytest.raises(pycryo.InputError, match="rows: expected"):
            particles[wrong]
    for wrong in (None, 3, ["rlnAngleRot"], {1: np.zeros(12)}, {"rlnAngleRot": np.zeros(3)}, {"rlnAngleRot": 1.0}):
        with pytest.raises(pycryo.InputError, match="columns"):
            particles.updated(wrong)
    with pytest.raises(pycryo.InputError, match="rlnClassNumber: expected whole numbers"):
        particles.updated({"rlnClassNumber": np.full(12, 1.5)})
    with pytest.raises(pycryo.InputError, match="batch: expected"):
        particles.images("3")


def test_sets_and_maps_that_hold_nothing(particles):
    none = particles[:0]
    assert repr(none) == "Particles(0 of particles in memory)"
    assert none.images().shape == (0, 0, 0)
    tiny = np.random.default_rng(1).normal(size=(2, 4, 4, 4))
    for words, call in (
        ("there are no particles", lambda: pycryo.refine(none, MAP)),
        ("there are no particles", lambda: pycryo.reconstruct(none)),
        ("usable particles are too few", lambda: pycryo.abinitio(none)),
        ("the same value in all voxels", lambda: pycryo.refine(particles, pycryo.Map(np.ones((8, 8, 8)), 4.0))),
        ("zero everywhere", lambda: pycryo.refine(particles, pycryo.Map(np.zeros((8, 8, 8)), 4.0))),
        ("maps of at least 8 px", lambda: pycryo.postprocess(*tiny, pixel_size=2.0)),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            call()


def test_callables_flags_and_options_of_runs(particles):
    for words, call in (
        ("options: expected RefineOptions", lambda: pycryo.refine(particles, MAP, {"symmetry": "D2"})),
        ("observer: expected a callable", lambda: pycryo.refine(particles, MAP, observer=3)),
        ("progress: expected a callable", lambda: pycryo.refine(particles, MAP, progress="bar")),
        ("resume: expected True or False", lambda: pycryo.refine(particles, MAP, resume="no")),
        ("checkpoint: expected a path", lambda: pycryo.refine(particles, MAP, checkpoint=3)),
        ("mask: expected Map", lambda: pycryo.refine(particles, MAP, mask=MAP.data)),
        ("options: expected AbinitioOptions", lambda: pycryo.abinitio(particles, pycryo.RefineOptions())),
        ("progress: expected a callable", lambda: pycryo.abinitio(particles, progress=1)),
        ("progress: expected a callable", lambda: pycryo.simulate(MAP, n=2, progress=1)),
        ("model: expected a Map", lambda: pycryo.simulate(None)),
        ("model is 'big'", lambda: pycryo.reconstruct(particles, model="big")),
        ("reconstruct has no option sym", lambda: pycryo.reconstruct(particles, sym="C1")),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            call()


def test_copies_of_particles_are_read_only(particles):
    for made in (copy.copy(particles), copy.deepcopy(particles), pickle.loads(pickle.dumps(particles))):
        assert repr(made) == repr(particles)
        np.testing.assert_array_equal(made.images(), particles.images())
        assert not made.defocus_u.flags.writeable
