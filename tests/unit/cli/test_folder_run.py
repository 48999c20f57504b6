"""The output folder of a run: taken, logged to, and left as it was found or with a mark."""

from types import SimpleNamespace

import pytest

from pycryo.cli.folder_run import FolderRun, Job
from pycryo.cli.logs import run_logs
from pycryo.errors import InputError
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files.job import ABORTED, FAILURE, LOG_NAME, SUCCESS
from pycryo.refinement.files.lock import LOCK_NAME


@pytest.fixture
def run(tmp_path):
    with run_logs(0, quiet=True) as logs:
        yield FolderRun(SerialComm(), SimpleNamespace(out=tmp_path / "a" / "run"), logs)


@pytest.mark.parametrize(("code", "mark"), [(0, SUCCESS), (1, FAILURE), (2, FAILURE), (143, ABORTED)])
def test_a_run_leaves_log_and_mark(run, code, mark):
    folder = run.take_folder(overwrite=False).path
    assert (folder / LOCK_NAME).exists()
    run.open_log()
    run.tell()
    run.keep_traceback("where it failed\n")
    run.leave(code, "the last words", as_found=False)
    assert {path.name for path in folder.iterdir()} == {LOG_NAME, mark}
    text = (folder / LOG_NAME).read_text()
    assert all(words in text for words in ("1 rank(s)", "where it failed", "the last words"))


def test_a_folder_is_left_as_it_was_found(run, tmp_path):
    run.take_folder(overwrite=False)
    run.open_log()
    run.leave(2, "wrong input", as_found=True)
    assert not list(tmp_path.iterdir())


def test_an_earlier_run_is_told(run):
    folder = run.take_folder(overwrite=False).path
    run.release()
    (folder / SUCCESS).touch()
    (folder / "run.json").touch()
    with pytest.raises(InputError, match="holds a finished run"):
        run.take_folder(overwrite=False)
    run.take_folder(overwrite=True)
    run.open_log()
    run.tell(goes_on=True)
    assert "earlier run" not in (folder / LOG_NAME).read_text()
    run.tell()
    assert "holds an earlier run: its files are overwritten" in (folder / LOG_NAME).read_text()
    run.release()


class _Wrong(Job):
    """Finds its input to be wrong when it has the folder."""

    def work(self):
        self.take_folder(overwrite=False)
        raise InputError("no good")


class _Good(Job):
    def work(self):
        self.take_folder(overwrite=False)
        self.open_log()


def test_a_command_ends_with_its_code_and_lets_the_folder_go(tmp_path, capsys):
    args = SimpleNamespace(out=tmp_path / "run")
    assert _Wrong.carry_out(SerialComm(), args, "try") == 2
    assert "pycryo try: error: no good" in capsys.readouterr().err
    assert not args.out.exists()
    assert _Good.carry_out(SerialComm(), args, "try") == 0
    assert {path.name for path in args.out.iterdir()} == {LOG_NAME, SUCCESS}
