"""Batches of images: order, boxes, reading ahead, errors, bad images."""

import threading

import numpy as np
import pytest

from pycryo.errors import RunError
from pycryo.io import mrc_stacks
from pycryo.io.batches import find_bad_images, iter_batches, read_images
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import Particles, read_particles


@pytest.fixture
def particles(tmp_path, rng):
    """Three stacks: a (5 images) and b (4) of 8 px, c (3) of 6 px; rows in a mixed order."""
    stacks = {"a": rng.normal(size=(5, 8, 8)), "b": rng.normal(size=(4, 8, 8)), "c": rng.normal(size=(3, 6, 6))}
    for name, images in stacks.items():
        write_stack(tmp_path / f"{name}.mrcs", [images], images.shape[1:], 1.0)
    names = [(i + 1, name) for name, images in stacks.items() for i in range(len(images))]
    names = [names[i] for i in rng.permutation(len(names))]
    optics = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnImageSize\n_rlnImagePixelSize\n1 8 1.0\n2 6 1.0\n"
    rows = "".join(f"{i}@{name}.mrcs {2 if name == 'c' else 1}\n" for i, name in names)
    (tmp_path / "in.star").write_text(optics + "data_particles\nloop_\n_rlnImageName\n_rlnOpticsGroup\n" + rows)
    images = [stacks[name][i - 1].astype(np.float32) for i, name in names]
    found = read_particles(tmp_path / "in.star")
    return found, [images[row] for row in found.rows]


def test_read_images_in_the_order_asked(particles):
    particles, images = particles
    rows = np.flatnonzero(particles.optics.box[particles.optics_group] == 8)[::-1]
    for found, row in zip(read_images(particles, rows), rows, strict=True):
        np.testing.assert_array_equal(found, images[row])
    with pytest.raises(ValueError, match=r"expected images of one box, got boxes \[6, 8\]"):
        read_images(particles, np.arange(12))
    assert read_images(particles, []).shape[0] == 0


@pytest.mark.parametrize("max_images", [1, 2, 4, 100])
@pytest.mark.parametrize("prefetch", [False, True])
def test_batches_cover_all_rows_once(particles, max_images, prefetch):
    particles, images = particles
    seen = []
    for batch in iter_batches(particles, max_images=max_images, prefetch=prefetch):
        assert 1 <= len(batch.rows) <= max_images
        for row, image in zip(batch.rows, batch.images, strict=True):
            np.testing.assert_array_equal(image, images[row])
        keys = list(zip(particles.stack[batch.rows], particles.image_index[batch.rows], strict=True))
        assert keys == sorted(keys)
        seen.extend(batch.rows.tolist())
    assert sorted(seen) == list(range(12))


def test_some_rows_and_none(particles):
    particles, _ = particles
    found = [batch.rows for batch in iter_batches(particles, [3, 1, 7], max_images=2)]
    assert sorted(np.concatenate(found).tolist()) == [1, 3, 7]
    assert list(iter_batches(particles, [], max_images=2)) == []
    with pytest.raises(ValueError, match="max_images: expected at least 1"):
        next(iter_batches(particles, max_images=0))


def test_next_batch_is_read_meanwhile(particles, monkeypatch):
    particles, _ = particles
    calls, second, read = [], threading.Event(), Particles.read

    def counted(*args):
        calls.append(threading.current_thread().name)
        if len(calls) == 2:
            second.set()
        return read(*args)

    monkeypatch.setattr(Particles, "read", counted)
    iterator = iter_batches(particles, max_images=3)
    next(iterator)
    assert second.wait(10)
    assert len(calls) == 2
    assert all(name.startswith("pycryo-read") for name in calls)
    iterator.close()
    calls.clear()
    assert len(list(iter_batches(particles, [3, 1], max_images=2))) == 1
    assert calls == [threading.current_thread().name]  # there is nothing to read ahead


def test_vanished_stack_is_a_run_error(particles, monkeypatch):
    particles, _ = particles
    monkeypatch.setattr(mrc_stacks, "LATE", 0.0)
    particles.stacks[0].unlink()
    with pytest.raises(RunError, match=rf"cannot read {particles.stacks[0]}"):
        list(iter_batches(particles, max_images=100))


def test_without_validation_headers_are_read_when_needed(particles, monkeypatch):
    whole, images = particles
    monkeypatch.chdir(whole.path.parent)
    lazy = read_particles(whole.path, validate=False)
    (place,) = np.flatnonzero(whole.rows == 4)
    np.testing.assert_array_equal(read_images(lazy, [4])[0], images[place])


def test_find_bad_images(rng):
    images = rng.normal(size=(6, 5, 5)).astype(np.float32)
    images[1, 2, 2] = np.nan
    images[2, 0, 0] = np.inf
    images[3, 4, 4] = -np.inf
    images[4] = 7
    np.testing.assert_array_equal(find_bad_images(images), [False, True, True, True, True, False])
    assert find_bad_images(images[:0]).shape == (0,)
