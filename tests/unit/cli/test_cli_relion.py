"""RELION's options: every one of the table is taken, told or refused; pasted lines and External jobs work."""

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path

import mrcfile
import pytest
import starfile

from pycryo import RefineOptions
from pycryo.cli import relion
from pycryo.cli.abort_file import ABORT_NAME, obeys_abort_file
from pycryo.cli.commands import refine as command
from pycryo.cli.main import main, refine_main
from pycryo.cli.option_arguments import options_from
from pycryo.cli.parser import CommandParser
from pycryo.cli.session import Interrupted, guarded
from pycryo.errors import InputError
from pycryo.parallel.comm import SerialComm

PAGE = Path(__file__).resolve().parents[3] / "docs" / "from_relion.md"
# As RELION 4's GUI makes it.
PASTED = (
    "--o {out}/run --auto_refine --split_random_halves --i {i} --ref {ref} --ini_high 40 "
    "--dont_combine_weights_via_disc --pool 3 --pad 2 --ctf --particle_diameter 90 --flatten_solvent --zero_mask "
    "--solvent_mask {mask} --solvent_correct_fsc --oversampling 1 --healpix_order 2 --auto_local_healpix_order 4 "
    "--offset_range 5 --offset_step 2 --sym C1 --low_resol_join_halves 40 --norm --scale --j 1 --gpu '' "
    "--pipeline_control {out}/"
)


def parse(*words):
    parser = CommandParser(prog="pycryo refine")
    command.add_arguments(parser)
    return parser.parse_args(words)


BASE = ("--i", "p.star", "--ref", "r.mrc", "--o", "d")
OPTIONS = [(name, count, each) for each in relion.TABLE for name, count in each.options()]


@pytest.mark.parametrize("name, count, entry", OPTIONS, ids=[name for name, _, _ in OPTIONS])
def test_the_whole_table(name, count, entry):
    """Each option is taken, with its value if it has one, and what becomes of it is told."""
    value = [] if count == 0 else ["7"]
    args = parse(*BASE, name, *value)
    if entry.kind == "refused":
        with pytest.raises(InputError, match=f"^{name}: "):
            relion.settle(args)
        return
    relion.settle(args)
    assert options_from(args, RefineOptions) == RefineOptions()
    told = "\n".join(relion.lines(args))
    assert f"RELION's {' '.join([name, *value])}: " in told
    assert (entry.text in told) == (entry.kind == "instead")
    if count == "?":
        parse(*BASE, name)
    elif count is None:
        with pytest.raises(SystemExit):
            parse(*BASE, name)


def test_no_option_stands_twice():
    names = [name for name, _, _ in OPTIONS]
    assert len(names) == len(set(names)) > 150
    assert not set(names) & set(relion.OWN)


@pytest.mark.parametrize("name", sorted(set(relion.OWN) - {"--i", "--in_parts", "--continue", "--sigma_ang"}))
def test_names_of_own_options(name):
    """RELION's name and pycryo's have one effect."""
    texts = {"--preread_images": [], "--sym": ["D2"], "--solvent_mask": ["m.mrc"], "--scratch_dir": ["s"]}
    value = texts.get(name, ["5"])
    base = ["p.star", "--ref", "r.mrc", "--out", "d"]
    own = relion.OWN[name]
    if own in base:
        del base[base.index(own) : base.index(own) + 2]
    found = parse(*base, name, *value), parse(*base, own, *value)
    for each in found:
        relion.settle(each)
    names = ("out", "ref", "mask", "particles")
    assert [getattr(found[0], each) for each in names] == [getattr(found[1], each) for each in names]
    options = [options_from(each, RefineOptions) for each in found]
    assert options[0] == options[1]
    assert name in ("--o", "--ref", "--in_3dref") or options[0] != RefineOptions()


def test_sigma_ang_starts_from_the_file():
    assert options_from(parse(*BASE, "--sigma_ang", "1.5"), RefineOptions) == RefineOptions(local=True, sigma_ang=1.5)
    with pytest.raises(InputError, match="add --local"):
        options_from(parse(*BASE, "--sigma-ang", "1.5"), RefineOptions)


@pytest.mark.parametrize(
    "root, folder",
    [
        ("Refine3D/job010/run", "Refine3D/job010"),
        ("Refine3D/job010/run_ct12", "Refine3D/job010"),
        ("/a/run", "/a"),
        ("External/job011/", "External/job011/"),
        ("run", "run"),
        ("results/run1", "results/run1"),
        ("results/other", "results/other"),
    ],
)
def test_beginning_of_all_names(root, folder):
    assert relion.job_folder(root) == folder
    assert parse("p.star", "--ref", "r.mrc", "--o", root).out == folder
    assert parse("p.star", "--ref", "r.mrc", "--out", root).out == root


def test_a_folder_that_is_there_is_one(tmp_path):
    (tmp_path / "run").mkdir()
    assert relion.job_folder(f"{tmp_path}/run") == f"{tmp_path}/run"


def test_refused_ones_are_told_together():
    words = "--skip_align --helix --helical_rise_initial 4.7 --gpu 0 --relax_sym C2"
    with pytest.raises(InputError) as caught:
        relion.settle(parse(*BASE, *words.split()))
    text = str(caught.value)
    assert "--helix, --helical_rise_initial: there is no helical symmetry" in text
    assert "--skip_align: poses are always searched" in text
    assert "--relax_sym: " in text
    assert "--gpu" not in text


def test_a_line_without_ctf_is_told():
    assert "--no-ctf" in relion.lines(parse(*BASE, "--norm"))[-1]
    assert not any("--no-ctf" in line for line in relion.lines(parse(*BASE, "--norm", "--ctf")))
    assert not any("add --no-ctf" in line for line in relion.lines(parse(*BASE, "--norm", "--no-ctf")))
    assert relion.lines(parse(*BASE)) == []


def test_pixel_size_of_the_reference():
    args = parse(*BASE, "--ref_angpix", "2.5")
    relion.check_pixel_size(args, [2.51])
    with pytest.raises(InputError, match=r"--ref_angpix is 2\.5 Å, but r\.mrc has pixels of 1 Å in its header"):
        relion.check_pixel_size(args, [1.0])
    relion.check_pixel_size(parse(*BASE, "--ref_angpix", "-1"), [1.0])


def test_inputs_of_an_external_job():
    args = parse("--in_parts", "p.star", "--in_3dref", "r.mrc", "--in_mask", "m.mrc", "--o", "External/job012/")
    relion.settle(args)
    assert (args.particles, args.particles_flag, args.ref, args.mask) == (None, "p.star", ["r.mrc"], "m.mrc")
    assert relion.is_external(args)
    assert not relion.is_external(parse(*BASE))
    for words in (("--in_parts", "q.star"), ("--in_3dref", "s.mrc"), ("--in_mask", "n.mrc", "--mask", "m.mrc")):
        with pytest.raises(InputError, match=rf"^{words[0]} .* is given beside"):
            relion.settle(parse(*BASE, *words))


def test_the_page_has_the_table():
    rows = PAGE.read_text("utf-8").splitlines()
    for each in relion.TABLE:
        assert f"| {' '.join(f'`{name}`' for name, _ in each.options())} | {each.text} |" in rows
    for name, own in relion.OWN.items():
        assert f"| `{name}` | `{own}` |" in rows


@pytest.mark.parametrize(
    "words, meant",
    [
        ("refine --symm C1", "--symmetry"),
        ("refine p.star --particle-diameter 3 --out d", "--particle_diameter"),
        ("refine --ini-hi 3", "--ini-high"),
        ("refine --healpix-order 3", "--healpix_order"),
        ("refine --tau2_fudg 4", "--tau2_fudge"),
        ("fsc a b --maks m", "--mask"),
        ("mask m --xyzzy=3", None),
    ],
)
def test_did_you_mean(words, meant, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2
    usage, message = capsys.readouterr().err.splitlines()
    name = words.split()[0]
    assert usage.startswith(f"usage: pycryo {name} ")
    assert usage.endswith(" [options]")
    assert message.startswith(f"pycryo {name}: error: there is no option --")
    assert message.endswith(f": did you mean {meant}?") == (meant is not None)


def test_errors_come_with_a_line_of_usage(capsys):
    with pytest.raises(SystemExit):
        main(["refine", "p.star"])
    usage, message = capsys.readouterr().err.splitlines()
    assert usage == "usage: pycryo refine [PARTICLES.star] --out DIR [options]"
    assert "--out" in message


def test_a_switch_has_no_value_in_the_line_of_usage(capsys):
    with pytest.raises(SystemExit):
        main(["validate"])
    usage = capsys.readouterr().err.splitlines()[0]
    assert usage == "usage: pycryo validate RUN --noise-substitution --out DIR [options]"


def test_words_behind_a_double_dash_are_no_options():
    parser = CommandParser(prog="p")
    parser.add_argument("word", nargs="*")
    parser.refuse_unknown(["--", "--strange"])
    parser.add_argument("--strange")
    parser.refuse_unknown(["--str", "3"])  # argparse knows it by its beginning


@pytest.fixture
def project(tiny_set, tmp_path, monkeypatch):
    """A folder where names of a STAR file in another one begin, as in a project of RELION."""
    monkeypatch.chdir(tmp_path)
    Path("Select").mkdir()
    Path("Select/particles.star").write_bytes((tiny_set / "particles.star").read_bytes())
    table = starfile.read(tiny_set / "particles.star")["particles"]
    stacks = set(table["rlnImageName"].str.split("@").str[1])
    for stack in stacks:
        Path("Select", stack).parent.mkdir(parents=True, exist_ok=True)
        Path("Select", stack).symlink_to(tiny_set / stack)
    return tiny_set


def run_words(line, project, out):
    words = line.format(out=out, i="Select/particles.star", ref=project / "init40A.mrc", mask=project / "mask.mrc")
    return ["refine", *(word.strip("'") for word in words.split()), "--max-iter", "2"]


def marks(folder):
    return [path.name.removeprefix("RELION_JOB_EXIT_") for path in folder.glob("RELION_JOB_EXIT_*")]


def test_a_pasted_line(project, capsys):
    out = Path("Refine3D/job010")
    assert main(run_words(PASTED, project, out)) == 0
    told = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("RELION's ") for line in told) == 6
    always = next(line for line in told if line.endswith("pycryo always does so"))
    assert "--auto_refine, --split_random_halves, --ctf" in always
    # One line of each iteration; nothing infinite.
    assert [line[:38] for line in told if " in iteration " in line] == [
        line[:38] for line in told if line.startswith("Auto-refine: Resolution= ")
    ]
    assert sum(line.startswith("Auto-refine") for line in told) == 2
    log = (out / "run.log").read_text("utf-8")
    assert "decision: " in log
    assert not any("inf" in line.replace("INFO", "") or "best before 0.0" in line for line in log.splitlines())
    assert marks(out) == ["SUCCESS"]
    assert not (out / "RELION_OUTPUT_NODES.star").exists()
    # RELION, started in the project's folder, finds the images.
    found = starfile.read(out / "run_data.star")["particles"]["rlnImageName"]
    assert all(Path(name.split("@")[1]).is_file() for name in found)
    assert all(name.split("@")[1].startswith("Select/") for name in found)
    for half in (1, 2):
        with mrcfile.open(out / f"run_half{half}_class001_unfil.mrc") as file:
            assert file.header.mode == 2
            assert float(file.voxel_size.x) == pytest.approx(4)
            assert tuple(file.header.origin.tolist()) == (0, 0, 0)
            assert (int(file.header.nxstart), int(file.header.mx)) == (0, 32)


EXTERNAL = "--o {out}/ --in_parts {i} --in_3dref {ref} --in_mask {mask} --sym C1 --diameter 90 --j 1"


def test_an_external_job(project):
    out = Path("External/job012")
    assert main([*run_words(EXTERNAL, project, out), "--keep-iterations", "none", "--quiet"]) == 0
    assert marks(out) == ["SUCCESS"]
    nodes = starfile.read(out / "RELION_OUTPUT_NODES.star")
    names = nodes["rlnPipeLineNodeName"].tolist()
    assert names[:3] == [
        "External/job012/run_data.star",
        "External/job012/run_class001.mrc",
        "External/job012/run_half1_class001_unfil.mrc",
    ]
    assert all(Path(name).is_file() for name in names)
    assert nodes["rlnPipeLineNodeTypeLabel"][2] == "DensityMap.mrc.relion.halfmap.refine3d"
    assert not list(out.glob("run_it*"))
    assert not (out / "checkpoint").exists()


def test_micrographs_are_refused(project, capsys):
    out = Path("External/job013")
    assert main([*run_words(EXTERNAL, project, out), "--in_mics", "m.star"]) == 2
    assert "--in_mics: a refinement needs particles" in capsys.readouterr().err
    assert not out.exists()


def test_an_aborted_job_is_continued(project, monkeypatch, capsys):
    """As RELION's GUI asks for it, within the second iteration."""
    out = Path("External/job014")
    words = [*run_words(EXTERNAL, project, out), "--quiet", "--seed", "3", "--no-coarse-to-fine"]
    refined = command.refine_slabs

    def refine_and_ask(*args, observer, **kwargs):
        def observe(setup, outcome, history):
            observer(setup, outcome, history)
            setup.background.settle(setup.partition.comm)
            (out / ABORT_NAME).touch()
            time.sleep(60)

        return refined(*args, observer=observe, **kwargs)

    monkeypatch.setattr(command, "refine_slabs", refine_and_ask)
    monkeypatch.setattr("pycryo.cli.abort_file._PERIOD", 0.1)
    monkeypatch.setattr(command, "obeys_abort_file", lambda folder: obeys_abort_file(folder, 0.1))
    assert main(words) == 143
    assert "interrupted" in capsys.readouterr().err
    assert marks(out) == ["ABORTED"]
    assert not (out / ABORT_NAME).exists()
    assert (out / "checkpoint" / "state.h5").is_file()
    assert f"{ABORT_NAME} is there" in (out / "run.log").read_text("utf-8")
    monkeypatch.setattr(command, "refine_slabs", refined)
    # Nothing else need be given; another option than before is another run.
    assert main(["refine", "--o", f"{out}/run", "--continue", "--quiet", "--sym", "C2"]) == 2
    assert "these differ: option symmetry (was C1, is C2);" in capsys.readouterr().err
    assert main(["refine", "--o", f"{out}/run_ct1", "--continue", f"{out}/run_it001_optimiser.star", "--quiet"]) == 0
    assert marks(out) == ["SUCCESS"]
    assert json.loads((out / "run.json").read_text())["options"]["seed"] == 3


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read"),
        ("{}", "is not as pycryo writes it"),
        ("[]", "holds no JSON object"),
        ('{"inputs": {"particles": "p"}, "options": {"classes": "x"}}', "is not as pycryo"),
    ],
)
def test_a_folder_that_tells_nothing(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert main(["refine", "--continue", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "give the particles, the reference and all options of the run again" in told


def test_abort_file_is_a_signal(tmp_path):
    def work():
        with obeys_abort_file(tmp_path, 0.05):
            (tmp_path / ABORT_NAME).touch()
            time.sleep(30)

    assert guarded(SerialComm(), "refine", work) == 143


def test_no_signal_comes_after_the_block(tmp_path, monkeypatch):
    def refuse(number, frame):
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, refuse)
    try:
        for _ in range(20):
            with obeys_abort_file(tmp_path, 0.001):
                pass
            (tmp_path / ABORT_NAME).touch()
            (tmp_path / ABORT_NAME).unlink()
        time.sleep(0.05)
        assert not [each for each in threading.enumerate() if each.name == "pycryo-abort"]
    finally:
        signal.signal(signal.SIGTERM, before)
    # Signals belong to the main thread: others do not look.
    thread = threading.Thread(target=lambda: obeys_abort_file(tmp_path).__enter__())
    thread.start()
    thread.join()


def test_one_executable(monkeypatch, capsys):
    """`pycryo-refine` is `pycryo refine`."""
    monkeypatch.setattr("sys.argv", ["pycryo-refine", "--o", "External/job001/", "--j", "1"])
    assert refine_main() == 2
    assert capsys.readouterr().err.startswith("pycryo refine: error: give the STAR file of the particles")
    assert sys.argv[1:3] == ["refine", "--o"]


def test_arguments_of_a_plain_parser():
    """Other commands make the namespace of `refine` by hand."""
    bare = argparse.Namespace(particles="p.star", particles_flag=None, ref=None, mask=None)
    relion.settle(bare)
    assert relion.lines(bare) == []
    assert not relion.is_external(bare)
