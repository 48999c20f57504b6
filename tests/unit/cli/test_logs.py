"""The log of a command where its file cannot be written."""

import logging

import pytest
from small_disc import small_disc

from pycryo.cli.logs import run_logs
from pycryo.errors import InputError, RunError

log = logging.getLogger("pycryo.test")


def test_a_full_disc_is_told_once(tmp_path, capsys):
    path = tmp_path / "run.log"
    with run_logs(0) as logs, small_disc(300):
        log.info("before the file is there")
        logs.open_file(path)
        with pytest.raises(RunError, match=rf"cannot write {path}: .*ulimit"):
            log.info("x" * 400)
        log.info("not in the file any more")
        logs.note("nor this")
    text = path.read_text()
    assert "before the file" in text
    assert "not in the file" not in text
    assert "nor this" not in text
    told = capsys.readouterr().err
    assert "not in the file any more" in told
    assert "Traceback" not in told
    assert "Logging error" not in told


def test_a_full_disc_is_no_news_for_last_words(tmp_path, capsys):
    with run_logs(0) as logs, small_disc(100):
        logs.open_file(tmp_path / "run.log")
        logs.note("failed: " + "x" * 200)
    assert capsys.readouterr().err == ""


def test_a_disc_without_room_for_the_first_words(tmp_path, capsys):
    with run_logs(0) as logs, small_disc(50):
        log.info("y" * 100)
        with pytest.raises(RunError, match=r"cannot write .*run\.log"):
            logs.open_file(tmp_path / "run.log")
    assert capsys.readouterr().err == "y" * 100 + "\n"


def test_a_folder_in_the_place_of_the_file(tmp_path):
    with run_logs(0) as logs, pytest.raises(InputError, match=r"cannot write .*: a folder has this name"):
        logs.open_file(tmp_path)
