"""Command `refine`: its options, and how a run ends in every case."""

import argparse
import dataclasses
import json
import os
import signal
import threading

import pytest

from pycryo import RefineOptions
from pycryo.cli import ranks
from pycryo.cli.commands import refine as command
from pycryo.cli.commands.demo import summary
from pycryo.cli.logs import run_logs
from pycryo.cli.main import main
from pycryo.cli.option_arguments import add_option_arguments, options_from
from pycryo.errors import InputError, RunError
from pycryo.parallel.comm import SerialComm
from pycryo.report import page
from pycryo.threads import get_threads


def parse(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def options(*words):
    return options_from(parse("p.star", "--ref", "r.mrc", "--out", "d", *words), RefineOptions)


def test_every_option_has_an_argument():
    found = parse("p.star", "--ref", "r.mrc", "--out", "d")
    assert all(hasattr(found, field.name) for field in dataclasses.fields(RefineOptions))
    assert options() == RefineOptions()


def test_own_spellings():
    words = "--symmetry D2 --diameter 150 --ini-high 30 --mask m.mrc --no-ctf --invert-contrast --max-bad-fraction 0.2"
    words += " --preread --max-iter 7 --padding 1 --threads 3 --seed 9 --stages global"
    expected = RefineOptions(
        symmetry="D2",
        diameter=150.0,
        ini_high=30.0,
        mask="m.mrc",
        ctf=False,
        invert_contrast=True,
        max_bad_fraction=0.2,
        preread=True,
        max_iter=7,
        padding=1,
        threads=3,
        seed=9,
        stages="global",
    )
    assert options(*words.split()) == expected


def test_relions_spellings():
    words = "--sym C4 --particle_diameter 150 --ini_high 30 --solvent_mask m.mrc --j 3 --random_seed 9 --preread_images"
    found = parse("--i", "p.star", "--ref", "r.mrc", "--o", "d", *words.split(), "--pad", "1")
    expected = RefineOptions(
        symmetry="C4", diameter=150.0, ini_high=30.0, mask="m.mrc", threads=3, seed=9, preread=True, padding=1
    )
    assert options_from(found, RefineOptions) == expected
    assert (found.particles, found.particles_flag, found.out) == (None, "p.star", "d")


def test_local_start():
    expected = RefineOptions(local=True, sigma_ang=2.0, sigma_offset=1.5)
    assert options("--local", "--sigma-ang", "2", "--sigma-offset", "1.5") == expected
    assert options("--local", "--sigma_ang", "2", "--sigma_offset", "1.5") == expected


def test_a_reference_is_needed_without_local(words, tmp_path, capsys):
    at = words.index("--ref")
    without = words[:at] + words[at + 2 :]
    assert main(without) == 2
    assert "give a reference map with --ref, or --local" in capsys.readouterr().err
    assert main([*without, "--local", "--dry-run"]) == 2
    assert "no rlnAngleRot, rlnAngleTilt, rlnAnglePsi; --local begins at the poses" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_abbreviations_are_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("p.star", "--ref", "r.mrc", "--out", "d", "--diam", "3")
    assert caught.value.code == 2
    assert "--diam" in capsys.readouterr().err


def test_help_groups_the_options_and_tells_the_defaults(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    for part in ("Sample:", "Computation:", "--no-ctf", "low-pass of the reference, Å (default: 40.0)", "--dry-run"):
        assert part in text


def test_arguments_of_any_options_class():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Some:
        a_b: int | None = dataclasses.field(
            default=None, metadata={"group": "G", "help": "h", "flags": ("--x",), "metavar": "N"}
        )
        on: bool = dataclasses.field(default=True, metadata={"group": "G", "help": "h", "flags": (), "metavar": None})
        skipped: str = dataclasses.field(
            default="z", metadata={"group": "H", "help": "h", "flags": (), "metavar": None}
        )

    Some.__annotations__ = {"a_b": int | None, "on": bool, "skipped": str}
    parser = argparse.ArgumentParser()
    add_option_arguments(parser, Some, skip=("skipped",))
    assert options_from(parser.parse_args(["--x", "4", "--no-on"]), Some) == Some(a_b=4, on=False)
    assert options_from(parser.parse_args([]), Some) == Some()


@pytest.fixture
def words(tiny_set, tmp_path):
    """Arguments of a short run into tmp_path / "run"."""
    return [
        "refine",
        str(tiny_set / "particles.star"),
        "--ref",
        str(tiny_set / "init40A.mrc"),
        "--out",
        str(tmp_path / "run"),
        "--max-iter",
        "1",
        "--quiet",
    ]


def marks(folder):
    return [path.name.removeprefix("RELION_JOB_EXIT_") for path in folder.glob("RELION_JOB_EXIT_*")]


def test_dry_run_tells_the_plan_and_writes_nothing(words, tmp_path, capsys):
    assert main([*words, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for part in ("40 (20 + 20)", "32 px of 4 Å", "memory per rank", "slices × ", f"1 × {get_threads()}"):
        assert part in printed
    assert not list(tmp_path.iterdir())


def test_dry_run_leaves_an_earlier_run_alone(words, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "run.log", "RELION_JOB_EXIT_SUCCESS"):
        (folder / name).write_text("x" if name == "run.json" else "")
    assert main([*words, "--dry-run"]) == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "run.json": "x",
        "run.log": "",
        "RELION_JOB_EXIT_SUCCESS": "",
    }


def test_mask_and_threads_reach_the_refinement(words, tiny_set, tmp_path, monkeypatch):
    seen = {}

    def refine(particles, reference, options, *, comm, mask, observer, **resume):
        seen.update(n=particles.n, box=reference[0].box, mask=mask.box, options=options, threads=get_threads())

    monkeypatch.setattr(command, "refine_slabs", refine)
    assert main([*words, "--mask", str(tiny_set / "mask.mrc"), "--threads", "1"]) == 0
    assert (seen["n"], seen["box"], seen["mask"], seen["threads"]) == (40, 32, 32, 1)
    assert seen["options"].mask.endswith("mask.mrc")
    assert marks(tmp_path / "run") == ["SUCCESS"]


@pytest.mark.parametrize(
    "error, code, mark, message",
    [
        (RunError("the disc is full; free some space"), 1, "FAILURE", "failed: the disc is full; free some space\n"),
        (MemoryError(), 1, "FAILURE", "ran out of memory"),
        (ValueError("odd"), 1, "FAILURE", "(ValueError: odd); please report it with its traceback, which run.log"),
    ],
)
def test_failures(words, tmp_path, monkeypatch, capsys, error, code, mark, message):
    def refine(*args, **kwargs):
        raise error

    monkeypatch.setattr(command, "refine_slabs", refine)
    assert main(words) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    log = (tmp_path / "run" / "run.log").read_text("utf-8")
    assert message.strip() in log
    assert ("Traceback" in log) == isinstance(error, ValueError)
    assert marks(tmp_path / "run") == [mark]


def test_wrong_input_found_late_leaves_nothing(words, tmp_path, monkeypatch, capsys):
    def refine(*args, **kwargs):
        raise InputError("too many images are unusable; remove them")

    monkeypatch.setattr(command, "refine_slabs", refine)
    assert main(words) == 2
    assert capsys.readouterr().err == "pycryo refine: error: too many images are unusable; remove them\n"
    assert not list(tmp_path.iterdir())


def test_wrong_input_after_the_first_iteration_is_a_failure(words, tmp_path, monkeypatch):
    def refine(*args, observer, **kwargs):
        observer.writer.has_written = True
        raise InputError("cannot write here any more")

    monkeypatch.setattr(command, "refine_slabs", refine)
    assert main(words) == 2
    assert marks(tmp_path / "run") == ["FAILURE"]


def test_the_report_of_a_run_that_goes_on(words, tmp_path, monkeypatch):
    """Built of the files of its iteration while the next one is done, and once more at the end."""
    built = []

    def build(folder):
        run = json.loads((folder / "run.json").read_text("utf-8"))
        built.append((len(run["iterations"]), run["status"], threading.current_thread() is threading.main_thread()))
        return folder / "report.html"

    monkeypatch.setattr(page, "build_report", build)
    assert main([*words, "--max-iter", "2", "--report-every", "1"]) == 0
    assert [(status, is_main) for _, status, is_main in built] == [("running", False), ("done", True)]
    assert [n for n, *_ in built] == [1, 2]


def test_reports_that_cannot_be(words, tmp_path, capsys):
    assert main([*words, "--report-every", "-1"]) == 2
    assert "--report-every must be 0 or more, not -1" in capsys.readouterr().err
    assert main([*words, "--report-every", "2", "--keep-iterations", "none"]) == 2
    assert "give --keep-iterations last or all" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals(words, tmp_path, monkeypatch, capsys, number, code):
    def refine(*args, **kwargs):
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    monkeypatch.setattr(command, "refine_slabs", refine)
    assert main(words) == code
    assert signal.getsignal(number) is before
    assert marks(tmp_path / "run") == ["ABORTED"]
    assert capsys.readouterr().err == "pycryo refine: interrupted\n"


def test_a_failing_report_is_a_warning(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "refine_slabs", lambda *args, **kwargs: None)
    assert main(words) == 0
    assert "WARNING: the report could not be made" in capsys.readouterr().err
    assert marks(tmp_path / "run") == ["SUCCESS"]


class Node(SerialComm):
    """A communicator of ranks with these cores, on one node."""

    def __init__(self, *cores):
        self.cores = [frozenset(each) for each in cores]
        self.size = len(cores)

    def all_gather(self, value):
        return [(value[0], cores, len(cores)) for cores in self.cores]


@pytest.mark.parametrize(
    "cores, threads",
    [
        ([range(8)], 8),
        ([range(8), range(8)], 4),
        ([range(4), range(4, 8)], 4),
        ([range(3), range(3)], 1),
        ([range(2), range(2), range(2)], 1),
        ([[5], [6]], 1),
    ],
)
def test_threads_per_rank(monkeypatch, cores, threads):
    monkeypatch.delenv("PYCRYO_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ranks, "_cores", lambda: frozenset(cores[0]))
    monkeypatch.setattr(ranks, "available_cores", lambda: len(cores[0]))
    assert ranks.threads_per_rank(Node(*cores), None) == threads
    assert ranks.threads_per_rank(Node(*cores), 5) == 5


def test_threads_share_a_quota(monkeypatch):
    monkeypatch.delenv("PYCRYO_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ranks, "_cores", lambda: frozenset(range(64)))
    monkeypatch.setattr(ranks, "available_cores", lambda: 4)
    assert ranks.threads_per_rank(Node(range(64), range(64)), None) == 2


def test_oversubscription_warns(monkeypatch, caplog):
    monkeypatch.setattr(ranks, "_cores", lambda: frozenset(range(2)))
    monkeypatch.setattr(ranks, "available_cores", lambda: 2)
    ranks.threads_per_rank(Node(range(2), range(2)), 1)
    assert not caplog.text
    ranks.threads_per_rank(Node(range(2), range(2)), 2)
    assert "use --threads 1" in caplog.text
    caplog.clear()
    ranks.threads_per_rank(Node(*[range(2)] * 3), 1)
    assert "start fewer" in caplog.text
    caplog.clear()
    second = Node(*[range(2)] * 3)
    second.rank = 1
    assert ranks.threads_per_rank(second, 2) == 2
    assert not caplog.text  # the first rank of the node tells it


def test_ranks_bound_to_cores_of_their_own_are_not_too_many(monkeypatch, caplog):
    monkeypatch.setattr(ranks, "_cores", lambda: frozenset([0]))
    monkeypatch.setattr(ranks, "available_cores", lambda: 1)
    ranks.threads_per_rank(Node([0], [1]), 1)
    assert not caplog.text
    ranks.threads_per_rank(Node([0], [0]), 1)
    assert "2 ranks share the 1 cores" in caplog.text


def test_logs_by_rank_and_level(tmp_path, capsys):
    import logging

    log = logging.getLogger("pycryo.some")
    with run_logs(0) as logs:
        log.info("early")
        logs.open_file(tmp_path / "run.log")
        log.info("late")
        log.warning("careful")
        log.debug("detail")
        logs.note("only here")
    assert capsys.readouterr().err == "early\nlate\nWARNING: careful\n"
    lines = (tmp_path / "run.log").read_text("utf-8").splitlines()
    assert [line.split(maxsplit=3)[3] for line in lines] == ["early", "late", "careful", "detail", "only here"]
    with run_logs(2) as logs:
        logs.open_file(tmp_path / "other.log")
        log.info("quiet")
        log.warning("careful")
    assert capsys.readouterr().err == "[rank 2] WARNING: careful\n"
    assert not (tmp_path / "other.log").exists()
    with run_logs(0, quiet=True):
        log.info("quiet")
    with run_logs(0, verbose=True):
        log.debug("detail")
    assert capsys.readouterr().err == "detail\n"
    assert not logging.getLogger("pycryo").handlers


def test_demo_summary_names_the_files(tmp_path):
    (tmp_path / "run.json").write_text('{"resolution": 14.987}')
    text = summary(tmp_path)
    assert "14.99 Å" in text
    for name in ("run_class001.mrc", "run_fsc.star", "report.html"):
        assert str(tmp_path / name) in text


def test_demo_runs_refine_on_the_example(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--dry-run", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "symmetry D2" in printed
    assert "150 (75 + 75)" in printed
    assert not (tmp_path / "demo").exists()
