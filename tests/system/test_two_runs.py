"""Two runs in one folder: the second one is refused, the first one goes on as if nothing had been."""

import subprocess
import sys
import time

from pycryo.cli.main import main


def words(command, data, out, *more):
    return [str(word) for word in (command, data / "particles.star", "--out", out, "--threads", 1, "--quiet", *more)]


def test_the_second_run_is_refused(tiny_set, tmp_path, capsys):
    """A refinement and a search for an initial map, while a refinement works and while it ends."""
    out, alone = tmp_path / "run", tmp_path / "alone"
    refine = ("--ref", tiny_set / "init40A.mrc", "--max-iter", 1)
    command = [sys.executable, "-m", "pycryo.cli.main", *words("refine", tiny_set, out, *refine)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        end = time.monotonic() + 60
        while not (out / "run.log").exists() and first.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        for name, more in (("refine", refine), ("refine", (*refine, "--overwrite")), ("abinitio", ())):
            assert main(words(name, tiny_set, out, *more)) == 2
            (message,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pycryo")]
            assert message.startswith(f"pycryo {name}: error: another run works in {out} (process {first.pid} on ")
            assert "choose another --out" in message
        _, told = first.communicate(timeout=60)
    assert first.returncode == 0, told
    assert main(words("refine", tiny_set, alone, *refine)) == 0
    for name in ("run_class001.mrc", "run_data.star"):
        assert (out / name).read_bytes() == (alone / name).read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in alone.iterdir()}


def test_a_search_for_an_initial_map_keeps_others_out(tiny_set, tmp_path, capsys):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "pycryo.cli.main", *words("abinitio", tiny_set, out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        end = time.monotonic() + 60
        while not (out / "run.log").exists() and first.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        assert main(words("abinitio", tiny_set, out)) == 2
        assert f"another run works in {out} (process {first.pid} on " in capsys.readouterr().err
        first.terminate()
        _, told = first.communicate(timeout=60)
    assert first.returncode == 143
    assert told == "pycryo abinitio: interrupted\n"
    assert [path.name for path in out.glob("RELION_JOB_EXIT_*")] == ["RELION_JOB_EXIT_ABORTED"]
