"""Stacks on a node's disc: copied once, read from there, gone in the end, however it ends."""

import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest
from particle_files import star_31
from thread_comm import run_ranks

from pycryo.errors import InputError
from pycryo.io.batches import read_images
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.sources.scratch import on_scratch
from pycryo.parallel.comm import SerialComm


@pytest.fixture
def particles(tmp_path):
    (tmp_path / "in").mkdir()
    return read_particles(star_31(tmp_path / "in"))


def test_images_come_from_the_copy_and_names_stay(particles, tmp_path):
    expected = read_images(particles, [2, 0])
    with on_scratch(SerialComm(), particles, tmp_path / "fast" / "disc") as copied:
        (folder,) = (tmp_path / "fast" / "disc").iterdir()
        (tmp_path / "in" / "a.mrcs").rename(tmp_path / "away")
        np.testing.assert_array_equal(read_images(copied, [2, 0]), expected)
        assert copied.label(0) == particles.label(0)
        write_particles(tmp_path / "o.star", copied, {})
        assert str(folder) not in (tmp_path / "o.star").read_text()
    assert not list((tmp_path / "fast" / "disc").iterdir())


def test_nothing_is_done_without_a_folder(particles):
    with on_scratch(SerialComm(), particles, None) as same:
        assert same is particles


def test_ranks_of_a_node_share_the_copies(particles, tmp_path):
    expected = read_images(particles, [1])

    def work(comm):
        with on_scratch(comm, particles, tmp_path / "fast") as copied:
            np.testing.assert_array_equal(read_images(copied, [1]), expected)
            return copied.headers[0].path

    paths = run_ranks(3, work)
    assert len(set(paths)) == 1
    assert not list((tmp_path / "fast").iterdir())


@pytest.mark.parametrize("error", [InputError("wrong"), KeyboardInterrupt()])
def test_removed_after_an_error(particles, tmp_path, error):
    with pytest.raises(type(error)), on_scratch(SerialComm(), particles, tmp_path / "fast"):
        raise error
    assert not list((tmp_path / "fast").iterdir())


def test_what_does_not_fit_stays_where_it_is(particles, tmp_path, monkeypatch, caplog):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 2000, 2000))
    with caplog.at_level(logging.WARNING), on_scratch(SerialComm(), particles, tmp_path / "fast") as same:
        assert same is particles
    assert "the stacks are not copied to" in caplog.text
    assert "and 67 MB more, 0 MB are free" in caplog.text


def test_a_disc_that_fills_up_meanwhile(particles, tmp_path, monkeypatch, caplog):
    def full(source, copy):
        copy.write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with caplog.at_level(logging.WARNING), on_scratch(SerialComm(), particles, tmp_path / "fast") as same:
        assert same is particles
        assert not list((tmp_path / "fast").iterdir())
    assert "No space left on device" in caplog.text


def test_a_folder_that_cannot_be_written(particles, tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"--scratch: .*file.* cannot be written"),
        on_scratch(SerialComm(), particles, tmp_path / "file"),
    ):
        pass


def test_what_dead_processes_left_is_removed(particles, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    top = tmp_path / "fast"
    names = [f"pycryo-scratch-{platform.node()}-{ended.pid}-abc", f"pycryo-scratch-{platform.node()}-{os.getpid()}-abc"]
    for name in (*names, f"pycryo-scratch-other-{ended.pid}-abc", "mine"):
        (top / name).mkdir(parents=True)
    with on_scratch(SerialComm(), particles, top):
        pass
    assert sorted(each.name for each in top.iterdir()) == sorted(
        [names[1], f"pycryo-scratch-other-{ended.pid}-abc", "mine"]
    )


def test_removed_when_the_process_is_killed(particles, tmp_path):
    text = (
        "import sys, time\n"
        "from pycryo.io.particles import read_particles\n"
        "from pycryo.io.sources.scratch import on_scratch\n"
        "from pycryo.parallel.comm import SerialComm\n"
        "with on_scratch(SerialComm(), read_particles(sys.argv[1]), sys.argv[2]):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", text, str(particles.path), str(tmp_path / "fast")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        assert list((tmp_path / "fast").iterdir())
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while list((tmp_path / "fast").iterdir()) and time.monotonic() < end:
        time.sleep(0.02)
    assert not list((tmp_path / "fast").iterdir())
