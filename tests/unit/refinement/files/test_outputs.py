"""Files of a run, by the names and labels that RELION uses."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import starfile

from pycryo import RefineOptions, refine
from pycryo.cli.main import main
from pycryo.errors import InputError, RunError
from pycryo.geometry.rotations import euler_to_quaternion
from pycryo.geometry.symmetry import symmetry
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
from pycryo.parallel.collective_errors import Meeting, on_root
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files import outputs
from pycryo.refinement.files.background import Background
from pycryo.refinement.files.data_star import pose_columns
from pycryo.refinement.files.job import ABORTED, FAILURE, SUCCESS, JobFolder
from pycryo.refinement.files.outputs import Writer
from pycryo.report.angdist import bin_of, bin_spacing, sampling_factor, sphere_bins, view_directions, write_angdist

OF_ITERATION = ("half1_class001.mrc", "half2_class001.mrc", "data.star", "model.star")
OF_RUN = (
    "run_class001.mrc",
    "run_class001_postprocess.mrc",
    "run_class001_postprocess_masked.mrc",
    "run_class001_postprocess.star",
    "run_class001_postprocess.json",
    "run_class001_postprocess_fsc.xml",
    "run_half1_class001_unfil.mrc",
    "run_half2_class001_unfil.mrc",
    "run_mask.mrc",
    "run_data.star",
    "run_model.star",
    "run_fsc.star",
    "run_fsc.xml",
    "run_class001_angdist.bild",
    "run.json",
    "run.log",
    "report.html",
    SUCCESS,
)


@pytest.fixture(scope="module")
def finished(tiny_set, tmp_path_factory):
    """Folder of a run of two iterations."""
    folder = tmp_path_factory.mktemp("runs") / "new" / "run1"
    words = ["refine", str(tiny_set / "particles.star"), "--ref", str(tiny_set / "init40A.mrc"), "--out", str(folder)]
    assert main([*words, "--max-iter", "2", "--diameter", "90", "--quiet"]) == 0
    return folder


def test_all_files_of_the_contract(finished):
    expected = {f"run_it{number:03d}_{name}" for number in (1, 2) for name in OF_ITERATION} | set(OF_RUN)
    assert {path.name for path in finished.iterdir()} == expected


@pytest.fixture(scope="module")
def iterations(tiny_set):
    """Setup, outcomes and history of a run of four iterations."""
    seen = []
    reference = read_map(tiny_set / "init40A.mrc")
    refine(
        read_particles(tiny_set / "particles.star"),
        reference,
        RefineOptions(max_iter=4, threads=1),
        observer=lambda setup, outcome, history: seen.append((setup, outcome, list(history))),
    )
    return seen


@pytest.mark.parametrize(
    "keep, while_running, end", [("none", [], []), ("last", [2, 3], [3, 4]), ("all", [1, 2, 3], [1, 2, 3, 4])]
)
def test_kept_iterations(iterations, tmp_path, keep, while_running, end):
    """Older ones go when the files of a newer one are there; those of an earlier run that was continued, too."""
    (tmp_path / "run_it000_data.star").write_text("of an earlier run")
    (tmp_path / "run_items.txt").write_text("of the user")
    seen = []
    particles = iterations[0][0].partition.particles
    writer = Writer(tmp_path, particles, RefineOptions(keep_iterations=keep), SerialComm(), has_written=True)
    for setup, outcome, history in iterations:
        background = Background()
        writer(replace(setup, background=background), outcome, history)
        background.settle(SerialComm())
        seen.append(
            {
                name: sorted(int(path.name[6:9]) for path in tmp_path.glob(f"run_it[0-9]*_{name}"))
                for name in OF_ITERATION
            }
        )
    zero = [0] if keep == "all" else []
    for found, expected in ((seen[2], while_running), (seen[3], end)):
        for name in OF_ITERATION:
            assert found[name] == (zero if name == "data.star" else []) + expected
    assert (tmp_path / "run_class001.mrc").exists()
    assert (tmp_path / "run_items.txt").exists()


def test_searched_defoci_are_written(tiny_set, tmp_path):
    given = read_particles(tiny_set / "particles.star")
    reference = read_map(tiny_set / "init40A.mrc")
    seen = []
    writer = Writer(tmp_path, given, RefineOptions(), SerialComm())

    def observe(setup, outcome, history):
        seen.append((setup, outcome, history))

    refine(given, reference, RefineOptions(max_iter=2, threads=1), observer=observe)
    setup, outcome, history = seen[-1]
    change = np.linspace(-300, 300, 40)
    writer(setup, replace(outcome, poses=replace(outcome.poses, defocus_change=change)), history)
    found = read_particles(tmp_path / "run_data.star", validate=False)
    for name in ("defocus_u", "defocus_v"):
        # STAR files hold six decimals.
        np.testing.assert_allclose(getattr(found, name) - getattr(given, name), change, atol=2e-6)


def test_maps(finished):
    names = ["run_class001.mrc", "run_mask.mrc", "run_it001_half1_class001.mrc", "run_it001_half2_class001.mrc"]
    for name in names:
        written = read_map(finished / name)
        assert written.box == 32
        assert written.pixel_size == pytest.approx(4.0)
    mask = read_map(finished / "run_mask.mrc").data
    assert (mask.min(), mask.max()) == (0, 1)
    halves = [read_map(finished / f"run_half{number}_class001_unfil.mrc").data for number in (1, 2)]
    assert 0.3 < np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1] < 0.999


@pytest.mark.parametrize("name", ["run_data.star", "run_it001_data.star"])
def test_particles_keep_their_columns(finished, tiny_set, name):
    given = starfile.read(tiny_set / "particles.star")["particles"]
    tables = starfile.read(finished / name)
    found = tables["particles"]
    assert "optics" in tables
    for column in set(given.columns) - {"rlnImageName"}:
        assert (found[column] == given[column]).all(), column
    # Names lead to the images from the working folder, which is not that of the STAR file here.
    numbers, stacks = (found["rlnImageName"].str.split("@").str[part].tolist() for part in (0, 1))
    assert numbers == given["rlnImageName"].str.split("@").str[0].tolist()
    assert {Path(stack).resolve() for stack in stacks} == {(tiny_set / "particles.mrcs").resolve()}
    new = {
        "rlnAngleRot",
        "rlnAngleTilt",
        "rlnAnglePsi",
        "rlnOriginXAngst",
        "rlnOriginYAngst",
        "rlnClassNumber",
        "rlnRandomSubset",
        "rlnMaxValueProbDistribution",
        "rlnLogLikeliContribution",
        "rlnNrOfSignificantSamples",
        "rlnParticleFigureOfMerit",
    }
    assert new <= set(found.columns)
    assert (found["rlnClassNumber"] == 1).all()
    # Clear particles: better explained than by noise; those that the first, blurred reference does not tell hardly so.
    assert found["rlnParticleFigureOfMerit"].between(-0.2, 2).all()
    assert found["rlnMaxValueProbDistribution"].between(0, 1).all()
    assert (found["rlnNrOfSignificantSamples"] >= 1).all()


def test_written_particles_can_be_read_back(finished):
    particles = read_particles(finished / "run_data.star")
    assert particles.n == 40
    assert particles.has_poses


def test_pose_columns_have_relions_signs():
    angles = np.array([[10.0, 50.0, -170.0], [-30.0, 120.0, 5.0]])
    poses = SimpleNamespace(
        quaternion=euler_to_quaternion(*angles.T),
        shift=np.array([[1.5, -2.0], [0.0, 3.0]]),
        class_index=np.array([0, 1], np.int32),
        p_max=np.array([0.1, 0.2]),
        n_significant=np.array([0.2, 7.6]),
        log_evidence=np.zeros(2),
        figure_of_merit=np.ones(2),
    )
    columns = pose_columns(poses, np.array([0, 1], np.int8))
    # Quaternions round the angles to about 1e-14 relative.
    np.testing.assert_allclose([columns[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")], angles.T, atol=1e-9)
    np.testing.assert_array_equal(columns["rlnOriginXAngst"], [-1.5, 0])
    np.testing.assert_array_equal(columns["rlnOriginYAngst"], [2, -3])
    np.testing.assert_array_equal(columns["rlnRandomSubset"], [1, 2])
    np.testing.assert_array_equal(columns["rlnClassNumber"], [1, 2])
    np.testing.assert_array_equal(columns["rlnNrOfSignificantSamples"], [1, 8])


def test_model_star(finished):
    tables = starfile.read(finished / "run_it002_model.star")
    final = starfile.read(finished / "run_model.star")
    assert final["model_classes"]["rlnReferenceImage"].item() == str(finished / "run_class001.mrc")
    assert final["model_general"]["rlnPixelSize"] == tables["model_general"]["rlnPixelSize"]
    assert {"model_general", "model_classes", "model_class_1", "model_groups", "model_optics_group_1"} <= set(tables)
    general = tables["model_general"]
    assert int(general["rlnOriginalImageSize"]) == 32
    assert float(general["rlnPixelSize"]) == 4
    noise = tables["model_optics_group_1"]
    assert list(noise["rlnSpectralIndex"]) == list(range(17))
    # White noise of variance 1 in N² pixels: ½·N² per real component, divided by N⁴. The shells beyond the molecule's
    # signal hold > 40 · 40 samples, so that their σ² is known to 3.5 %.
    assert np.median(noise["rlnSigma2Noise"][10:16]) == pytest.approx(1 / (2 * 32**2), rel=0.1)
    spectra = tables["model_class_1"]
    curves = starfile.read(finished / "run_fsc.star")["fsc"]
    np.testing.assert_allclose(spectra["rlnGoldStandardFsc"], curves["rlnFourierShellCorrelationCorrected"], atol=1e-6)
    fsc = np.clip(spectra["rlnGoldStandardFsc"], 1e-3, 0.999)
    np.testing.assert_allclose(spectra["rlnSsnrMap"], fsc / (1 - fsc), rtol=1e-3)
    assert (spectra["rlnReferenceTau2"] >= 0).all()


def test_run_json(finished):
    run = json.loads((finished / "run.json").read_text("utf-8"))
    assert run["status"] == "done"
    assert run["resolution"] == run["iterations"][-1]["resolution"]
    assert [each["number"] for each in run["iterations"]] == [1, 2]
    assert run["iterations"][0]["pose_change"] is None
    assert run["iterations"][1]["seconds"]["total"] > 0
    assert run["options"]["diameter"] == run["diameter"] == 90
    last = run["iterations"][-1]
    assert run["particles"] == {
        "total": 40,
        "half_sets": [20, 20],
        "junk": last["n_junk"],
        "suggested_threshold": last["score_threshold"],
        "left_out": [],
        "left_out_reasons": {},
        "mended": {"pixels": 0, "ramp": 0},
    }
    assert last["n_junk"] == 0
    assert run["machine"]["ranks"] == 1
    assert {"numpy", "scipy", "python"} <= set(run["versions"])
    assert run["inputs"]["particles"].endswith("particles.star")


def test_run_log_has_relions_line(finished):
    resolution = json.loads((finished / "run.json").read_text("utf-8"))["resolution"]
    assert f"Auto-refine: Resolution= {resolution:.5g}" in (finished / "run.log").read_text("utf-8")


class OtherRank(SerialComm):
    """Rank 1, which hears from rank 0 what `told` says."""

    rank = 1
    size = 2

    def __init__(self, told):
        self.told = told

    def broadcast(self, value, root=0):
        return self.told


def test_other_ranks_write_only_maps(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "write_maps", lambda *_, **__: None)
    writer = Writer(tmp_path, None, RefineOptions(), OtherRank((None, None, "None")))
    writer(SimpleNamespace(box=8, background=Background()), SimpleNamespace(is_final=False), [])
    assert not list(tmp_path.iterdir())


def test_errors_of_the_background_are_raised_by_the_end_of_the_next_iteration(tmp_path, monkeypatch):
    started = []

    def write(self, setup, outcome, history):
        started.append(list(history))
        raise RunError("the disc is full")

    monkeypatch.setattr(Writer, "_write", write)
    monkeypatch.setattr(outputs, "write_maps", lambda *_, **__: None)
    writer = Writer(tmp_path, None, RefineOptions(), SerialComm())
    setup = SimpleNamespace(box=8, background=Background())
    history = [1]
    writer(setup, SimpleNamespace(is_final=False), history)
    history.append(2)
    with pytest.raises(RunError, match="disc is full"):
        setup.background.settle(SerialComm())
    assert started == [[1]]
    with pytest.raises(RunError, match="disc is full"):
        writer(setup, SimpleNamespace(is_final=True), history)
    setup.background.close()


def test_on_root_shares_results_and_errors():
    def fail():
        raise InputError("no such file")

    assert on_root(SerialComm(), lambda: 5) == 5
    with pytest.raises(InputError, match="no such file"):
        on_root(SerialComm(), fail)
    assert on_root(OtherRank((5, None, "None")), fail) == 5
    with pytest.raises(InputError, match="no such file"):
        on_root(OtherRank((None, "InputError", "no such file")), lambda: 5)
    with pytest.raises(RunError, match="why"):
        on_root(OtherRank((None, "KeyError", "why")), lambda: 5)
    assert Meeting(SerialComm()).all_arrive(0)


def test_job_folder_is_left_as_it_was(tmp_path):
    new, lock = JobFolder.prepare(tmp_path / "a" / "b")
    assert new.path.is_dir()
    (new.path / "run.log").write_text("x")
    lock.release()
    new.withdraw()
    assert not list(tmp_path.iterdir())
    old = tmp_path / "old"
    old.mkdir()
    for name in ("run.json", "run.log", SUCCESS):
        (old / name).write_text("")
    job, lock = JobFolder.prepare(old)
    assert job.had_run
    assert not (old / SUCCESS).exists()
    lock.release()
    job.withdraw()
    assert {path.name for path in old.iterdir()} == {"run.json", "run.log", SUCCESS}


@pytest.mark.parametrize("mark", [SUCCESS, FAILURE, ABORTED])
def test_only_one_mark_of_the_end(tmp_path, mark):
    for name in (SUCCESS, FAILURE, ABORTED):
        (tmp_path / name).write_text("")
    job, lock = JobFolder.prepare(tmp_path)
    job.end(mark)
    lock.release()
    assert [path.name for path in tmp_path.glob("RELION_JOB_EXIT_*")] == [mark]


def random_directions(rng, n):
    vectors = rng.standard_normal((n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("spacing", [5, 13.7, 20, 90, 180])
def test_sphere_bins(rng, spacing):
    directions = random_directions(rng, 5000)
    centres, counts = sphere_bins(directions, spacing)
    assert counts.sum() == 5000
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1)
    np.testing.assert_array_equal(bin_of(centres, spacing), np.arange(len(centres)))
    assert sphere_bins(np.empty((0, 3)), spacing)[1].sum() == 0
    poles = np.array([[0, 0, 1.0], [0, 0, -1.0], [-1, -1e-20, 0]])
    assert sphere_bins(poles, spacing)[1].sum() == 3


def test_bins_of_even_directions_are_even(rng):
    spacing = 15
    counts = sphere_bins(random_directions(rng, 200_000), spacing)[1]
    # Rings of equal height in tilt, cut to whole bins: areas differ by up to ~40 % at the poles, few % elsewhere;
    # the counts of ~1000 have 3 % of noise.
    assert counts.std() / counts.mean() < 0.15
    assert 5 <= bin_spacing(10**9) <= bin_spacing(600) <= bin_spacing(1) <= 20


def test_sampling_factor(rng):
    even = random_directions(rng, 20_000)
    # ~1000 slices pass within the band of a direction: ⟨1/c⟩⟨c⟩ is off by 1/1000.
    assert sampling_factor(even) == pytest.approx(1, abs=0.01)
    turn = rng.uniform(0, 2 * np.pi, 20_000)
    side = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    # π²/8, changed by the width of the band near the axis.
    assert sampling_factor(side) == pytest.approx(8 / np.pi**2, abs=0.03)
    assert sampling_factor(np.tile([[0, 0, 1.0]], (1000, 1))) < 0.1
    assert sampling_factor(np.empty((0, 3))) == 0


def test_view_directions_follow_rot_and_tilt():
    quaternion = euler_to_quaternion(30.0, 60.0, 77.0)
    expected = [np.sin(np.pi / 3) * np.cos(np.pi / 6), np.sin(np.pi / 3) * np.sin(np.pi / 6), 0.5]
    np.testing.assert_allclose(view_directions(quaternion, symmetry("C1")), [expected], atol=1e-12)
    assert view_directions(quaternion, symmetry("I")).shape == (60, 3)
    mates = view_directions(quaternion, symmetry("D2"))
    signs = np.array([[1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]])
    assert {tuple(np.round(v, 6)) for v in mates} == {tuple(np.round(v, 6)) for v in expected * signs}


def test_angdist_file(tmp_path, rng):
    path = tmp_path / "views.bild"
    write_angdist(path, np.tile([[0, 0, 1.0]], (9, 1)), centre=100, radius=50)
    words = path.read_text("utf-8").split()
    start = words.index(".cylinder") + 1
    ends = np.array(words[start : start + 7], float)
    # All views in one bin next to the z axis (its centre is at most a bin away): a full cylinder, 30 % of the radius.
    np.testing.assert_allclose(ends[[2, 5]], [150, 165], rtol=0.05)
    assert np.linalg.norm(ends[3:6] - ends[:3]) == pytest.approx(15, abs=0.01)
    assert words.count(".cylinder") == 1


def test_overwriting_warns_and_leaves_one_mark(finished, tiny_set, capsys):
    (finished / ABORTED).write_text("")
    words = ["refine", str(tiny_set / "particles.star"), "--ref", str(tiny_set / "init40A.mrc"), "--out", str(finished)]
    assert main([*words, "--max-iter", "1", "--quiet"]) == 2
    assert "holds a finished run: choose another folder" in capsys.readouterr().err
    (finished / "run_it031_half1_class001.mrc").write_text("of a longer run")
    assert main([*words, "--max-iter", "1", "--quiet", "--overwrite"]) == 0
    assert "holds an earlier run" in capsys.readouterr().err
    assert not list(finished.glob("run_it03*"))
    assert [path.name for path in finished.glob("RELION_JOB_EXIT_*")] == [SUCCESS]
