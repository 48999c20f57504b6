"""An iteration that was cut short goes on: images whose posterior is on disc are not searched, the end is the same."""

import dataclasses
import logging
import re
import shutil

import h5py
import numpy as np
import pytest

from pycryo import RefineOptions, refine
from pycryo.errors import RunError
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
from pycryo.parallel.comm import SerialComm
from pycryo.refinement import parts
from pycryo.refinement.data import partition
from pycryo.refinement.expectation import half_pass, rounds
from pycryo.refinement.files.background import Background
from pycryo.refinement.files.saved import unfinished
from pycryo.refinement.files.saved.array_file import read_arrays, write_arrays
from pycryo.refinement.files.saved.checkpoint import save, state_mark
from pycryo.refinement.files.saved.unfinished import Unfinished
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state
from pycryo.refinement.step import iterate

OPTIONS = RefineOptions(max_iter=9, threads=1)


@pytest.fixture(scope="module")
def inputs(tiny_set):
    return read_particles(tiny_set / "particles.star"), read_map(tiny_set / "init40A.mrc")


@pytest.fixture(scope="module")
def begun(inputs):
    """Setup, and the states before and after one global iteration."""
    setup, starts = set_up(SerialComm(), *inputs, None, OPTIONS)
    first = first_state(setup, starts)
    return setup, first, iterate(setup, first).state


def write_often(monkeypatch):
    """Batches of 16 images, scans of 12, a file after each batch."""
    monkeypatch.setattr(partition, "_BATCH_PIXELS", 1)
    monkeypatch.setattr(rounds, "MOST_SEARCHED", 12)
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    write_often(monkeypatch)


@pytest.fixture
def searched(monkeypatch):
    """Rows of the images whose posterior is sampled."""
    rows, original = [], half_pass.sample_posterior

    def sample(comparison, candidates, widths, draws, *rest, **more):
        rows.extend(draws.ids.tolist())
        return original(comparison, candidates, widths, draws, *rest, **more)

    monkeypatch.setattr(half_pass, "sample_posterior", sample)
    return rows


def in_stage(state, stage, **changes):
    return dataclasses.replace(state, schedule=dataclasses.replace(state.schedule, stage=stage, **changes))


def assert_same(found, expected):
    """Poses, figures, maps and all that the next iteration takes, to the last bit."""
    compare(found.poses, expected.poses)
    times = {"seconds": None, "load": None}
    compare(dataclasses.replace(found.record, **times), dataclasses.replace(expected.record, **times))
    for one, other in zip(found.classes, expected.classes, strict=True):
        for a, b in zip(one.half_maps, other.half_maps, strict=True):
            np.testing.assert_array_equal(a.data, b.data)
    for name in ("noise", "scale", "class_share", "insertion_weight", "schedule", "sigma_shift", "sigma_defocus"):
        compare(getattr(found.state, name), getattr(expected.state, name))
    if expected.state.posteriors[0] is None:
        assert found.state.posteriors == (None, None)
        return
    for (rows, one), (others, other) in zip(found.state.posteriors, expected.state.posteriors, strict=True):
        order, order_of_others = np.argsort(rows), np.argsort(others)
        for name in ("defocus_change", "mode_quaternion", "spread_rotation", "n_slices"):
            np.testing.assert_array_equal(getattr(one, name)[order], getattr(other, name)[order_of_others])
        np.testing.assert_array_equal(one.support.shift[order], other.support.shift[order_of_others])


def compare(one, other):
    if dataclasses.is_dataclass(other):
        for field in dataclasses.fields(other):
            np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name))
    else:
        np.testing.assert_equal(one, other)


def files_of(folder):
    return sorted(folder.glob("iteration*/*"))


def cut_short(setup, state, folder):
    """Iterate, and leave what a kill in the middle would have left."""
    keeper = Unfinished(folder)
    keeper.begin(setup, state, save(setup, state, [], folder))
    outcome = iterate(setup, state, keeper)
    files = files_of(folder)
    assert len(files) > 1
    for path in files[len(files) // 2 :]:
        path.unlink()
    return outcome


def rows_in(files):
    found = []
    for path in files:
        with h5py.File(path) as file:
            found.extend(file["rows"][()].tolist())
    return found


def goes_on(setup, state, folder, searched, *, least=1):
    """A cut iteration ends as it would have, and only the images that are not on disc are searched."""
    expected = cut_short(setup, state, folder)
    kept = rows_in(files_of(folder))
    everyone = list(searched)
    searched.clear()
    again = Unfinished(folder)
    again.resume(setup, state)
    assert again.n_kept == len(kept) >= least
    found = iterate(setup, state, again)
    assert sorted(searched + kept) == sorted(everyone)
    assert sorted(rows_in(files_of(folder))) == sorted(everyone)
    assert_same(found, expected)
    return found


def test_global(begun, tmp_path, searched):
    setup, _, state = begun
    outcome = goes_on(setup, in_stage(state, "global"), tmp_path, searched)
    assert 0 < outcome.record.scores_scan < outcome.record.scores_scan_all


def test_first(begun, tmp_path, searched):
    setup, first, _ = begun
    goes_on(setup, first, tmp_path, searched)


@pytest.mark.parametrize("rescans", ["", "in turn"])
def test_local(begun, tmp_path, searched, rescans):
    setup, _, state = begun
    goes_on(setup, in_stage(state, "local", rescans=rescans), tmp_path, searched)


def test_defocus_then_final(begun, tmp_path, searched):
    setup, _, state = begun
    outcome = goes_on(setup, in_stage(state, "defocus", best_shell=1.0), tmp_path, searched)
    assert any(p.defocus_change.any() for _, p in outcome.state.posteriors)
    searched.clear()
    options = dataclasses.replace(OPTIONS, ewald=True)
    setup = dataclasses.replace(setup, options=options)
    goes_on(setup, in_stage(outcome.state, "final"), tmp_path / "final", searched)


def test_part_of_the_images(begun, tmp_path, searched):
    setup, first, _ = begun
    state = dataclasses.replace(first, schedule=dataclasses.replace(first.schedule, part=13))
    goes_on(setup, state, tmp_path, searched)
    assert len(set(searched)) < 26
    assert parts.images_of(setup, 13).partition.n == 26


def test_classes(inputs, tmp_path, searched):
    """From one reference, images are dealt to the classes behind the search; then the classes differ."""
    setup, starts = set_up(SerialComm(), *inputs, None, dataclasses.replace(OPTIONS, classes=2))
    state = first_state(setup, starts)
    outcome = goes_on(setup, state, tmp_path, searched)
    searched.clear()
    goes_on(setup, outcome.state, tmp_path / "second", searched)


@pytest.fixture(scope="module")
def cut_once(begun, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        write_often(patch)
        cut_short(*begun[:2], folder)
    return folder


@pytest.fixture
def cut(begun, cut_once, tmp_path):
    """Setup, state, folder of a cut iteration."""
    shutil.copytree(cut_once, tmp_path, dirs_exist_ok=True)
    return *begun[:2], tmp_path


def n_resumed(setup, state, folder):
    again = Unfinished(folder)
    again.resume(setup, state)
    return again.n_kept


def edited(edit):
    """Change the header and arrays of a file that is sound but for that."""

    def change(path):
        with read_arrays(SerialComm(), path) as source:
            header, arrays = source.header, {name: source.read(name) for name in source.layout}
        edit(header, arrays)
        with write_arrays(SerialComm(), path, header) as sink:
            sink.write_pieces(arrays)

    return change


def replaced(name, value):
    return edited(lambda header, arrays: arrays.update({name: value(arrays[name])}))


def first_is(value):
    def change(data):
        data[0] = value
        return data

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "cannot be read|truncated|checksum"),
        (lambda path: path.write_bytes(b"no HDF5"), "signature|checksum"),
        (lambda path: h5py.File(path, "w").close(), "header|checksum"),
        (edited(lambda header, arrays: header.update(state="sha256:0")), "another iteration or run.*: state"),
        (edited(lambda header, arrays: header.update(format=99, pycryo="9.9")), "format, pycryo"),
        (edited(lambda header, arrays: header.update(ewald=True)), "ewald"),
        (edited(lambda header, arrays: arrays.pop("p_max")), "p_max"),
        (replaced("rows", first_is(40)), "other particles"),
        (replaced("rows", first_is(-1)), "other particles"),
        (replaced("rows", lambda rows: np.full_like(rows, rows[0])), "other particles"),
        (replaced("class_index", first_is(1)), "other classes"),
        (replaced("mode_quaternion", first_is(np.nan)), "no numbers"),
        (replaced("weight", lambda data: data[1:]), "expected"),
        (replaced("log_evidence", lambda data: data.astype(np.float32)), "expected"),
    ],
)
def test_files_that_do_not_belong_are_ignored(cut, caplog, change, message):
    """One of them alone; what the others have is used."""
    setup, state, folder = cut
    caplog.set_level(logging.INFO)
    one, *others = files_of(folder)
    n = len(rows_in(others))
    change(one)
    assert n_resumed(setup, state, folder) == n
    (line,) = (each for each in caplog.messages if one.name in each)
    assert "is not used, its images are searched again" in line
    assert re.search(message, line, re.DOTALL)


def test_another_state(begun, cut):
    """As after a run that began anew, or with other particles: they are all in the mark of the state."""
    setup, first, _ = begun
    _, _, folder = cut
    assert n_resumed(setup, first, folder) > 0
    other = dataclasses.replace(first, sigma_shift=2 * first.sigma_shift)
    mark = save(setup, other, [], folder)
    assert state_mark(SerialComm(), folder) == mark
    assert n_resumed(setup, other, folder) == 0


def test_folders_of_other_iterations_are_removed(begun, cut):
    setup, _, second = begun
    _, _, folder = cut
    assert files_of(folder)
    save(setup, second, [], folder)
    assert n_resumed(setup, second, folder) == 0
    assert not files_of(folder)


def test_new_files_leave_the_old_ones(begun, cut, searched):
    """Killed again and again, each time a little further on."""
    setup, state, folder = cut
    seen = files_of(folder)
    again = Unfinished(folder)
    again.resume(setup, state)
    iterate(setup, state, again)
    assert set(seen) < set(files_of(folder))
    files_of(folder)[-1].unlink()
    searched.clear()
    third = Unfinished(folder)
    third.resume(setup, state)
    iterate(setup, state, third)
    assert 0 < len(searched) <= 16
    fourth = Unfinished(folder)
    fourth.resume(setup, state)
    searched.clear()
    iterate(setup, state, fourth)
    assert not searched


def test_written_now_and_then(begun, tmp_path, monkeypatch):
    setup, state, _ = begun
    now = [0.0]
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", 300.0)
    monkeypatch.setattr(unfinished.time, "monotonic", lambda: now[0])
    keeper = Unfinished(tmp_path)
    keeper.begin(setup, state, "mark")
    rows, posterior = begun[2].posteriors[0]
    for seconds, n_file in ((299, 0), (300, 1), (301, 1), (599, 1), (600, 2)):
        now[0] = seconds
        keeper.add(rows, posterior, np.zeros(len(rows), np.int64))
        assert len(files_of(tmp_path)) == n_file


@pytest.mark.parametrize("seconds, n_file", [(19, 0), (20, 1)])
def test_an_interrupted_iteration_writes_what_it_has(begun, tmp_path, monkeypatch, seconds, n_file):
    setup, state, second = begun
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", 300.0)
    keeper, now = Unfinished(tmp_path), [0.0]
    monkeypatch.setattr(unfinished.time, "monotonic", lambda: now[0])
    keeper.begin(setup, state, "mark")
    rows, posterior = second.posteriors[0]

    def interrupted():
        with keeper:
            keeper.add(rows, posterior, np.zeros(len(rows), np.int64))
            now[0] = seconds
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(files_of(tmp_path)) == n_file


def test_a_disc_that_fails_ends_nothing(begun, tmp_path, caplog):
    setup, first, _ = begun
    keeper = Unfinished(tmp_path)
    keeper.begin(setup, first, save(setup, first, [], tmp_path))
    keeper.path.write_text("a file has the name of the folder")
    iterate(setup, first, keeper)
    assert "posteriors of iteration 1 are not kept: cannot write" in caplog.text


def test_a_run_leaves_nothing(inputs, tmp_path):
    """Each iteration removes what it wrote when its state is there; a new run what another one left."""
    (tmp_path / "iteration0007").mkdir()
    seen = []

    def look(setup, outcome, history):
        seen.append([path.parent.name for path in files_of(tmp_path)][-1])
        if len(seen) == 2:
            raise RunError("stopped")

    options = dataclasses.replace(OPTIONS, max_iter=2)
    with pytest.raises(RunError, match="stopped"):
        refine(*inputs, options, observer=look, checkpoint=tmp_path)
    assert seen == ["iteration0001", "iteration0002"]
    assert [path.name for path in tmp_path.glob("iteration*")] == ["iteration0002"]
    result = refine(*inputs, options, checkpoint=tmp_path, resume=True)
    assert [record.number for record in result.history] == [1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.h5", "state.h5"]


def test_end_waits_for_the_state(tmp_path):
    """Without it what was found is still needed."""
    background, keeper = Background(), Unfinished(tmp_path)
    keeper._header = {"number": 3}
    keeper.path.mkdir()

    def fail():
        raise RunError("the disc is full")

    background.add(fail)
    keeper.end(background)
    with pytest.raises(RunError):
        background.settle(SerialComm())
    assert keeper.path.is_dir()
    keeper.end(background)
    background.settle(SerialComm())
    assert not keeper.path.exists()
