"""Checkpoints: what is saved is read back to the last bit, or refused with what is wrong."""

import dataclasses
import json
import signal

import h5py
import numpy as np
import pytest
from small_disc import small_disc

from pycryo import RefineOptions, refine
from pycryo.errors import InputError, RunError
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
from pycryo.maps.density import Map
from pycryo.maps.registration import Motion
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files.saved.array_file import Sink, sign
from pycryo.refinement.files.saved.checkpoint import check, checkpoint_file, load, save
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state
from pycryo.refinement.step import iterate

OPTIONS = RefineOptions(max_iter=2)


@dataclasses.dataclass
class Run:
    """A short refinement that was watched."""

    particles: object
    reference: Map
    setup: object = None
    states: list = dataclasses.field(default_factory=list)
    history: list = dataclasses.field(default_factory=list)

    def __call__(self, setup, outcome, history):
        self.setup = setup
        self.states.append(outcome.state)
        self.history = list(history)


@pytest.fixture(scope="module")
def run(tiny_set):
    """Two iterations, the second is the final one."""
    run = Run(read_particles(tiny_set / "particles.star"), read_map(tiny_set / "init40A.mrc"))
    refine(run.particles, run.reference, OPTIONS, observer=run)
    return run


@pytest.fixture
def saved(run, tmp_path):
    """Folder with the checkpoint of the first iteration."""
    save(run.setup, run.states[0], run.history[:1], tmp_path)
    return tmp_path


def assert_same(found, expected):
    """Equal to the last bit, types and all fields included."""
    assert type(found) is type(expected)
    if dataclasses.is_dataclass(expected):
        for field in dataclasses.fields(expected):
            assert_same(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif not isinstance(expected, SerialComm):  # all communicators of one process are alike
        assert found == expected


def in_row_order(state):
    """The state with its posteriors sorted by particle, as nothing depends on their order."""

    def sort(found):
        rows, posterior = found
        order = np.argsort(rows)
        support = dataclasses.replace(
            posterior.support,
            **{f.name: getattr(posterior.support, f.name)[order] for f in dataclasses.fields(posterior.support)},
        )
        rest = {f.name: getattr(posterior, f.name)[order] for f in dataclasses.fields(posterior) if f.name != "support"}
        return rows[order], dataclasses.replace(posterior, support=support, **rest)

    return dataclasses.replace(state, posteriors=tuple(sort(found) for found in state.posteriors))


def test_what_is_saved_is_read_back(run, saved):
    state, history = load(run.setup, saved)
    assert np.isinf(history[0].pose_change)
    assert_same(history, run.history[:1])
    assert_same(in_row_order(state), in_row_order(run.states[0]))


def test_changes_of_the_defocus_are_kept(run, tmp_path, rng):
    changed = tuple(
        (rows, dataclasses.replace(p, defocus_change=rng.normal(0, 100, len(p)), spread_defocus=np.full(len(p), 30.0)))
        for rows, p in run.states[0].posteriors
    )
    state = dataclasses.replace(run.states[0], posteriors=changed, sigma_defocus=123.4)
    save(run.setup, state, [], tmp_path)
    assert_same(in_row_order(load(run.setup, tmp_path)[0]), in_row_order(state))


def test_motions_are_kept(run, tmp_path):
    """And the next iteration undoes them as it would have, that of half 1 only."""
    motion = Motion(
        np.array([0.9999, 0.01, -0.01, 0.0]) / np.linalg.norm([0.9999, 0.01, 0.01]), np.array([1.1, 0.3, 0])
    )
    unmoved = dataclasses.replace(run.states[0], motions=((), ()))
    state = dataclasses.replace(unmoved, motions=((motion,), (None,)))
    save(run.setup, state, [], tmp_path)
    found, _ = load(run.setup, tmp_path)
    assert_same(in_row_order(found), in_row_order(state))
    ends = [iterate(run.setup, each) for each in (found, state, unmoved)]
    assert_same(ends[0].poses, ends[1].poses)
    turned = np.abs(ends[0].poses.quaternion - ends[2].poses.quaternion).max(axis=1) > 1e-4
    np.testing.assert_array_equal(turned, run.setup.partition.half == 0)
    assert ends[0].record.pose_change == pytest.approx(ends[2].record.pose_change, abs=1e-6)  # degrees


def test_a_search_of_the_defocus_goes_on_as_it_would_have(run, tmp_path):
    setup = dataclasses.replace(run.setup, options=dataclasses.replace(OPTIONS, max_iter=9))
    # The resolution grows, so that the stage does not end.
    schedule = dataclasses.replace(run.states[0].schedule, stage="defocus", best_shell=1.0)
    outcome = iterate(setup, dataclasses.replace(run.states[0], schedule=schedule))
    assert outcome.state.schedule.stage == "defocus"
    assert outcome.state.sigma_defocus is not None
    assert all(p.defocus_change.any() for _, p in outcome.state.posteriors)
    save(setup, outcome.state, [outcome.record], tmp_path)
    found, _ = load(setup, tmp_path)
    assert_same(in_row_order(iterate(setup, found).state), in_row_order(iterate(setup, outcome.state).state))


def test_before_the_first_iteration(run, tmp_path):
    setup, start = set_up(SerialComm(), run.particles, run.reference, None, OPTIONS)
    state = first_state(setup, start)
    save(setup, state, [], tmp_path)
    found, history = load(setup, tmp_path)
    assert history == []
    assert_same(found, state)


def test_the_file_holds_arrays_and_text_only(saved):
    kinds = []
    with h5py.File(checkpoint_file(saved)) as file:
        json.loads(file["header"][()])
        file.visititems(lambda name, item: kinds.append((name, item.dtype)) if hasattr(item, "dtype") else None)
    assert [name for name, kind in kinds if kind.kind not in "fi"] == ["header"]
    assert len(kinds) > 10


def test_a_new_checkpoint_takes_the_place_of_the_old_one(run, saved):
    later = dataclasses.replace(run.states[0], number=7)
    save(run.setup, later, run.history, saved)
    state, history = load(run.setup, saved)
    assert (state.number, len(history)) == (7, 2)
    assert [path.name for path in saved.iterdir()] == ["state.h5"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_full_disc_leaves_the_old_checkpoint(run, saved, share):
    """A limit on the size of files stands for the disc: it is met at the start, in the arrays, or when HDF5 closes."""
    before = checkpoint_file(saved).read_bytes()
    with (
        small_disc(int(share * len(before)) + 100),
        pytest.raises(RunError, match=r"cannot write .*state\.h5: .*ulimit"),
    ):
        save(run.setup, run.states[0], run.history, saved)
    assert checkpoint_file(saved).read_bytes() == before
    assert [path.name for path in saved.iterdir()] == ["state.h5"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_wait_until_the_checkpoint_is_complete(run, saved, monkeypatch, number):
    class Interrupted(KeyboardInterrupt):
        pass

    def interrupt(number, frame):
        raise Interrupted

    put = Sink._fill

    def fill(*args):
        if args[1] == "noise":
            signal.raise_signal(number)
        put(*args)

    monkeypatch.setattr(Sink, "_fill", fill)
    before = signal.signal(number, interrupt)
    try:
        with pytest.raises(Interrupted):
            save(run.setup, dataclasses.replace(run.states[0], number=9), run.history, saved)
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
    assert load(run.setup, saved)[0].number == 9


def test_missing(run, tmp_path):
    for attempt in (lambda: load(run.setup, tmp_path), lambda: check(SerialComm(), run.particles, OPTIONS, tmp_path)):
        with pytest.raises(InputError, match=r"no checkpoint .*state\.h5: start without --continue"):
            attempt()
    with pytest.raises(InputError, match="no checkpoint"):
        refine(run.particles, run.reference, OPTIONS, checkpoint=tmp_path, resume=True)
    with pytest.raises(InputError, match="needs the folder"):
        refine(run.particles, run.reference, OPTIONS, resume=True)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_cut_file(run, saved, keep):
    path = checkpoint_file(saved)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(InputError, match=r"state\.h5 cannot be read"):
        load(run.setup, saved)


def other_program(path):
    with h5py.File(path, "w") as file:
        file["MDF/images/0/image"] = np.zeros((4, 4))


@pytest.mark.parametrize("make", [other_program, lambda path: path.write_text("data_\n"), lambda path: path.touch()])
def test_file_of_another_program(run, tmp_path, make):
    make(checkpoint_file(tmp_path))
    for attempt in (lambda: load(run.setup, tmp_path), lambda: check(SerialComm(), run.particles, OPTIONS, tmp_path)):
        with pytest.raises(
            InputError, match=r"state\.h5 cannot be read, it is damaged or no checkpoint .*: start anew$"
        ):
            attempt()


def change(folder, edit):
    """Let `edit` change the header and the file."""
    with h5py.File(checkpoint_file(folder), "r+") as file:
        header = json.loads(file["header"][()])
        edit(header, file)
        del file["header"]
        file["header"] = json.dumps(header)
    with open(checkpoint_file(folder), "r+b") as raw:
        sign(raw)


def reshape(name):
    def edit(header, file):
        data = file[name][()]
        del file[name]
        file[name] = data[1:]

    return edit


def huge(header, file):
    del file["scale"]
    file.create_dataset("scale", (1 << 40,), "f8", chunks=(1024,))


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda header, file: header.update(format=99, pycryo="9.9"), "of pycryo 9.9"),
        (lambda header, file: header.pop("schedule"), r"cannot be read.*header lacks schedule"),
        (lambda header, file: header["schedule"].update(odd=1), "cannot be read"),
        (lambda header, file: file.pop("noise"), "cannot be read"),
        (lambda header, file: file.pop("posteriors/quaternion"), "cannot be read"),
        (reshape("references/class1/half2"), "cannot be read"),
        (reshape("posteriors/p_max"), "cannot be read"),
        (huge, "larger than the file"),
    ],
)
def test_other_contents(run, saved, edit, message):
    change(saved, edit)
    with pytest.raises(InputError, match=message):
        load(run.setup, saved)


def test_options_that_change_the_result_must_be_the_same(run, saved):
    comm = SerialComm()
    check(comm, run.particles, OPTIONS, saved)
    other = dataclasses.replace(OPTIONS, symmetry="C2", seed=5, ctf=False)
    with pytest.raises(
        InputError, match=r"symmetry \(was C1, is C2\).*ctf \(was True, is False\).*seed \(was 1, is 5\)"
    ):
        check(comm, run.particles, other, saved)
    with pytest.raises(InputError, match="start anew without --continue"):
        load(dataclasses.replace(run.setup, options=other), saved)


# Another value of each option that may be changed, and of each that may not.
FREE = {
    "threads": 3,
    "preread": True,
    "scratch": "x",
    "particles_dir": "x",
    "max_bad_fraction": 0.3,
    "max_iter": 9,
    "keep_iterations": "all",
    "slices": "local",
    "ring_size": 2,
    "memory": 1.0,
    "model": "replicated",
    "ewald": True,
    "ewald_hand": -1,
    # Compared as they were used, in `load`.
    "diameter": 99.0,
    "mask": "mask.mrc",
}
FIXED = {
    "symmetry": "D2",
    "ini_high": 33.0,
    "classes": 2,
    "ctf": False,
    "invert_contrast": True,
    "ignore_optics": "tilt",
    "stages": "global",
    "local": True,
    "sigma_ang": 3.0,
    "sigma_offset": 3.0,
    "coarse_to_fine": False,
    "single": True,
    "padding": 1,
    "seed": 3,
}


def test_each_option_is_free_or_fixed(run, saved):
    """An option that is new is fixed, and this test says so."""
    assert {field.name for field in dataclasses.fields(OPTIONS)} == FREE.keys() | FIXED.keys()
    comm = SerialComm()
    for name, value in FREE.items():
        assert getattr(OPTIONS, name) != value
        more = {"ewald": True} if name == "ewald_hand" else {}
        check(comm, run.particles, dataclasses.replace(OPTIONS, **{name: value, **more}), saved)
    for name, value in FIXED.items():
        more = {"local": True} if name.startswith("sigma") else {}
        with pytest.raises(InputError, match=rf"differ: .*option {name.replace('_', '-')} \(was .*, is {value}\)"):
            check(comm, run.particles, dataclasses.replace(OPTIONS, **{name: value, **more}), saved)


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda p: p.subset(np.arange(30)), r"number of particles \(was 40, is 30\), image names"),
        (lambda p: p.subset(np.arange(40)[::-1]), "image names, optics groups or CTF values"),
        (lambda p: dataclasses.replace(p, defocus_u=p.defocus_u + 1), "these differ: optics groups or CTF values;"),
    ],
)
def test_other_particles(run, saved, edit, message):
    with pytest.raises(InputError, match=message):
        check(SerialComm(), edit(run.particles), OPTIONS, saved)


def test_the_same_files_elsewhere_are_the_same_particles(run, saved, tiny_set, tmp_path):
    (tmp_path / "moved").mkdir()
    for name in ("particles.star", "particles.mrcs"):
        (tmp_path / "moved" / name).write_bytes((tiny_set / name).read_bytes())
    check(SerialComm(), read_particles(tmp_path / "moved" / "particles.star"), OPTIONS, saved)


def test_other_setup(run, saved):
    half = 1 - run.setup.partition.half
    mask = SlabMap(SerialComm(), np.ones((32, 32, 32), np.float32), run.setup.pixel_size)
    for changes, message in (
        ({"partition": dataclasses.replace(run.setup.partition, half=half)}, "half-sets"),
        ({"diameter": 77.0}, r"diameter of the particle \(was .*, is 77.0\)"),
        ({"user_mask": mask}, "mask"),
    ):
        with pytest.raises(InputError, match=message):
            load(dataclasses.replace(run.setup, **changes), saved)


def test_continued_in_memory_ends_the_same(run, tmp_path):
    """The first run fails after its first iteration, as if the disc were full for the files of the second."""

    def fail(setup, outcome, history):
        if outcome.record.stage == "final":
            raise RunError("stopped")

    with pytest.raises(RunError, match="stopped"):
        refine(run.particles, run.reference, OPTIONS, observer=fail, checkpoint=tmp_path)
    again = Run(run.particles, run.reference)
    result = refine(run.particles, run.reference, OPTIONS, observer=again, checkpoint=tmp_path, resume=True)
    assert [record.number for record in result.history] == [1, 2]
    assert len(again.states) == 1
    assert_same(in_row_order(again.states[-1]), in_row_order(run.states[-1]))
