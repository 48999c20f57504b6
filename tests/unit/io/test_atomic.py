"""Atomic writing: whole files or none, and errors that say what to do."""

import errno
import os
import subprocess
import sys

import pytest

from pycryo.errors import InputError, RunError
from pycryo.io.atomic import atomic_path, check_writable_folder, write_bytes, write_error, write_text


def test_writes_and_replaces(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "one")
    write_text(target, "Ångström")
    assert target.read_text(encoding="utf-8") == "Ångström"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.mrc"
    write_bytes(target, b"old")

    def interrupted():
        with atomic_path(target) as temporary:
            assert temporary.suffix == ".mrc"
            assert temporary.parent == tmp_path
            temporary.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.mrc"]


def test_devices_and_pipes_are_not_replaced(tmp_path):
    pipe, name = tmp_path / "pipe.mrc", tmp_path / "stdout"
    os.mkfifo(pipe)
    name.symlink_to("/proc/self/fd/1")
    for each in (pipe, name):
        with pytest.raises(InputError, match=f"cannot write {each}: it is a device or a pipe; give the name of a file"):
            write_bytes(each, b"new")
    assert sorted(os.listdir(tmp_path)) == ["pipe.mrc", "stdout"]
    assert pipe.is_fifo()
    assert name.is_symlink()


def test_a_link_to_a_file_can_be_written(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").read_text() == "new"


def test_the_end_can_wait(tmp_path):
    target, kept = tmp_path / "a.mrc", []
    write_bytes(target, b"old")
    for _ in range(2):
        with atomic_path(target, lambda *both: kept.append(both)) as temporary:
            temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
        assert temporary.exists()
        work, give_up = kept[-1]
        give_up()
        assert os.listdir(tmp_path) == ["a.mrc"]
    with pytest.raises(InputError, match=r"a\.mrc: the folder does not exist"):
        work()
    with atomic_path(target, lambda *both: kept.append(both)) as temporary:
        temporary.write_bytes(b"new")
    kept[-1][0]()
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.mrc"]


def test_error_of_another_file_is_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match="vanished"), atomic_path(tmp_path / "a.mrc"):
        (tmp_path / "vanished").read_bytes()


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_missing_folder_and_file_in_the_way(tmp_path):
    with pytest.raises(InputError, match=r"none/a\.txt: the folder does not exist"):
        write_text(tmp_path / "none" / "a.txt", "x")
    write_text(tmp_path / "file", "x")
    with pytest.raises(InputError, match=r"file/a\.txt: part of the path is a file"):
        write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(InputError, match="file"):
        check_writable_folder(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="a folder has this name"):
        write_text(tmp_path / "folder", "x")


@pytest.mark.parametrize(
    "code, kind, words",
    [
        (errno.EACCES, InputError, "no permission"),
        (errno.EROFS, InputError, "read-only"),
        (errno.ENOSPC, RunError, "disc is full"),
        (errno.EIO, RunError, "check the disc"),
    ],
)
def test_kind_of_error(tmp_path, code, kind, words):
    error = write_error(tmp_path / "x.mrc", OSError(code, os.strerror(code)))
    assert type(error) is kind
    assert words in str(error)
    assert "x.mrc" in str(error)


def test_file_size_limit_leaves_nothing(tmp_path):
    """A real failure in the middle of a write, as on a full disc."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pycryo.io.atomic import write_bytes\n"
        f"write_bytes({str(tmp_path / 'big')!r}, bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "RunError: cannot write" in done.stderr
    assert "ulimit -f" in done.stderr
    assert os.listdir(tmp_path) == []


def test_check_writable_folder_makes_it(tmp_path):
    folder = check_writable_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert os.listdir(folder) == []
