"""RELION's own programs, where they are installed, on files of pycryo and the other way round: signs, scales."""

import os
import re
import shutil
import subprocess
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
import starfile
from scene import lump

from pycryo.cli.main import main
from pycryo.io.mrc import read_map, write_map
from pycryo.io.particles import read_particles
from pycryo.maps.density import low_pass

BOX, PIXEL, N = 48, 2.0, 400
TILT = (3.0, -4.0)
OPTICS = {
    "plain": [],
    "tilt": ["--beam-tilt", "3,-4"],
    "odd": ["--odd-zernike", "0,0,60,0,0,-50"],
    "even": ["--even-zernike", "0,0,0,0,0,0,0.8,-0.9,0.3"],
    "magnification": ["--magnification", "1.03,0.01,0.01,0.98"],
}
STATED = ("Tilt", "Zernike", "MagMat")
ALL = "beam-tilt,odd-zernike,even-zernike,magnification"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="RELION is not on the PATH"),
]


def relion(folder, line):
    """Run a program of RELION in a folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line.split(), cwd=folder, env=environment, capture_output=True, text=True)
    # relion_postprocess and others end badly without ghostscript, after everything is written.
    assert done.returncode == 0 or "gs: not found" in done.stderr, done.stdout + done.stderr
    return done.stdout


def pycryo(*words):
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    phantom = replace(lump(n=120, extent=32.0), widths=np.full(120, 1.6))
    path = tmp_path_factory.mktemp("model") / "model.mrc"
    write_map(path, phantom.volume(BOX, PIXEL).astype(np.float32), PIXEL)
    return path


@pytest.fixture(scope="module")
def simulated(model, tmp_path_factory):
    """Function: name in OPTICS -> folder with particles, truth.star, and blind.star, which states no aberrations."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = folder = tmp_path_factory.mktemp(name)
            pycryo("simulate", model, "--out", folder, "--n", N, "--snr", 2, "--shift-sd", 1, *OPTICS[name])
            tables = starfile.read(folder / "truth.star")
            kept = [label for label in tables["optics"] if not any(part in label for part in STATED)]
            tables["optics"] = tables["optics"][kept]
            starfile.write(tables, folder / "blind.star")
        return made[name]

    return make


def agreement(one, other, axes):
    """Correlation of the transforms of two maps or stacks in four bands to 0.95 of Nyquist."""
    a, b = (np.fft.rfftn(mrcfile.read(each).astype(float), axes=axes) for each in (one, other))
    k = np.fft.fftfreq(BOX, 1 / BOX)
    square = np.arange(BOX // 2 + 1) ** 2 + (k**2)[:, None]
    radius = np.sqrt(square if len(axes) == 2 else square + (k**2)[:, None, None])
    found = []
    for low, high in np.array([[0.02, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 0.95]]) * BOX / 2:
        x, y = (each[..., (radius >= low) & (radius < high)] for each in (a, b))
        found.append((x * y.conj()).real.sum() / np.sqrt((abs(x) ** 2).sum() * (abs(y) ** 2).sum()))
    return np.array(found)


def truth(folder, name):
    """FSC of a map with the true one inside the true mask, in the same bands."""
    mask = read_map(folder / "mask.mrc").data
    for source, target in ((name, "a.mrc"), ("map.mrc", "b.mrc")):
        write_map(folder / target, read_map(folder / source).data * mask, PIXEL)
    return agreement(folder / "a.mrc", folder / "b.mrc", (0, 1, 2))


@pytest.mark.parametrize(
    "name, ignored, ctf", [("plain", "", True), ("even", "", True), ("magnification", "", False), ("tilt", ALL, True)]
)
def test_projections(simulated, name, ignored, ctf):
    """Angles, origins, defoci, astigmatism, even aberrations and magnification mean the same, and so do grey values.

    relion_project leaves beam tilt out, and does not stretch the CTF with the magnification as relion_reconstruct does.
    """
    folder, flag = simulated(name), ["--ctf"] if ctf else []
    relion(folder, " ".join(["relion_project --i map.mrc --o theirs --ang truth.star --angpix 2.0", *flag]))
    more = [*flag, *(["--ignore-optics", ignored] if ignored else [])]
    pycryo("project", folder / "map.mrc", "--poses", folder / "truth.star", "--out", folder / "ours.mrcs", *more)
    # Both interpolate linearly in a transform that is padded twice: what differs is rounding. Measured 0.99999.
    assert agreement(folder / "ours.mrcs", folder / "theirs.mrcs", (1, 2)).min() > 0.9999
    ours, theirs = (mrcfile.read(folder / file) for file in ("ours.mrcs", "theirs.mrcs"))
    assert np.linalg.norm(ours - theirs) < 0.01 * np.linalg.norm(ours)


@pytest.mark.parametrize("name", list(OPTICS))
def test_reconstructions(simulated, name):
    """The map of particles with known poses is as near to the truth as RELION's: each aberration has its sign."""
    folder = simulated(name)
    relion(folder, "relion_reconstruct --i truth.star --o theirs.mrc --ctf")
    pycryo("reconstruct", folder / "truth.star", "--out", folder / "ours.mrc")
    ours, theirs = truth(folder, "ours.mrc"), truth(folder, "theirs.mrc")
    # How the programs treat samples that few images measure differs; measured -0.0004 to 0.012.
    assert (ours - theirs).min() > -0.005
    assert (ours - theirs).max() < 0.02
    if name != "plain":
        relion(folder, "relion_reconstruct --i blind.star --o blind.mrc --ctf")
        assert truth(folder, "blind.mrc")[-1] < theirs[-1] - 0.02


def test_postprocess(simulated):
    """Curves, resolution, Guinier plot and grey values of relion_postprocess on half-maps of pycryo."""
    folder = simulated("plain")
    pycryo("reconstruct", folder / "truth.star", "--half-maps", "--out", folder / "run.mrc")
    for half in (1, 2):
        shutil.copy(folder / f"run_half{half}.mrc", folder / f"run_half{half}_class001_unfil.mrc")
    pycryo("postprocess", folder / "run_half1.mrc", folder / "run_half2.mrc", "--mask", folder / "mask.mrc",
           "--fit-from", 8, "--out", folder / "ours")  # fmt: skip
    ours = starfile.read(folder / "ours" / "postprocess.star")
    (folder / "theirs").mkdir()
    last = ours["general"]["rlnFinalResolution"]
    relion(
        folder,
        "relion_postprocess --i run_half1_class001_unfil.mrc --mask mask.mrc --auto_bfac --autob_lowres 8 "
        f"--autob_highres {last} --o theirs/postprocess",
    )
    theirs = starfile.read(folder / "theirs" / "postprocess.star")
    # RELION counts pairs of mates in the plane x = 0 twice: measured 0.003. The phases that are randomised differ.
    for label, most in {
        "rlnFourierShellCorrelationUnmaskedMaps": 0.005,
        "rlnFourierShellCorrelationMaskedMaps": 0.005,
        "rlnFourierShellCorrelationCorrected": 0.05,
    }.items():
        assert np.abs(ours["fsc"][label] - theirs["fsc"][label]).max() < most, label
    one, other = ours["general"], theirs["general"]
    # RELION's is that of a shell, ours is interpolated.
    width = BOX * PIXEL * (1 / (BOX * PIXEL / last - 1) - last / (BOX * PIXEL))
    assert abs(one["rlnFinalResolution"] - other["rlnFinalResolution"]) < max(width, 0.3)
    assert one["rlnRandomiseFrom"] == pytest.approx(other["rlnRandomiseFrom"], abs=1e-3)
    label = "rlnParticleBoxFractionSolventMask"
    assert one[label] == pytest.approx(other[label], rel=1e-5)
    label = "rlnLogAmplitudesOriginal"
    plots = (each["guinier"].set_index(each["guinier"]["rlnResolutionSquared"].round(5)) for each in (ours, theirs))
    difference = (next(plots)[label] - next(plots)[label]).dropna()
    assert len(difference) > 20
    assert difference.abs().max() < 0.06  # in the smallest shells, where few pairs count twice: measured 0.04
    assert difference.abs().iloc[6:].max() < 0.02
    assert one["rlnBfactorUsedForSharpening"] == pytest.approx(other["rlnBfactorUsedForSharpening"], abs=25)
    told = relion(folder, "relion_star_printtable ours/postprocess.star data_fsc rlnAngstromResolution")
    np.testing.assert_allclose([float(word) for word in told.split()], ours["fsc"]["rlnAngstromResolution"], rtol=1e-5)


def test_beam_tilt_is_found_by_both(simulated):
    folder = simulated("tilt")
    pycryo("reconstruct", folder / "blind.star", "--half-maps", "--out", folder / "run.mrc")
    halves = [folder / f"run_half{half}.mrc" for half in (1, 2)]
    for half, path in enumerate(halves, 1):
        shutil.copy(path, folder / f"run_half{half}_class001_unfil.mrc")
    (folder / "post").mkdir()
    relion(folder, "relion_postprocess --i run_half1_class001_unfil.mrc --mask mask.mrc --o post/post")
    (folder / "theirs").mkdir()
    maps = "--m1 run_half1_class001_unfil.mrc --m2 run_half2_class001_unfil.mrc --mask mask.mrc"
    relion(folder, f"relion_ctf_refine --i blind.star --f post/post.star {maps} --o theirs/ --fit_beamtilt")
    pycryo("ctf-refine", folder / "blind.star", "--half-maps", *halves, "--mask", folder / "mask.mrc",
           "--find", "tilt", "--out", folder / "ours")  # fmt: skip
    for name in ("ours", "theirs"):
        found = read_particles(folder / name / "particles_ctf_refine.star", particles_dir=folder).optics.beam_tilt[0]
        # Standard errors are 0.1 mrad.
        np.testing.assert_allclose(found, TILT, atol=0.5)


def test_refinements_go_on_from_each_other(simulated):
    """Some iterations of relion_refine around the poses of pycryo, and `pycryo refine --local` around RELION's."""
    folder = simulated("plain")
    run = folder / "run"
    begin = ["refine", folder / "truth.star", "--ref", folder / "init40A.mrc", "--out", run, "--local", "--threads", 1]
    pycryo(*begin, "--max-iter", 4)
    (folder / "theirs").mkdir(exist_ok=True)
    relion(
        folder,
        "relion_refine --i run/run_data.star --ref run/run_class001.mrc --o theirs/run --iter 4 --particle_diameter 80 "
        "--ini_high 8 --ctf --zero_mask --flatten_solvent --norm --scale --oversampling 1 --healpix_order 5 "
        "--sigma_ang 1 --offset_range 2 --offset_step 1 --pad 2 --random_seed 1",
    )
    theirs = folder / "theirs"
    pycryo("refine", theirs / "run_it004_data.star", "--ref", theirs / "run_it004_class001.mrc",
           "--particles-dir", folder, "--local", "--max-iter", 3, "--threads", 1,
           "--out", folder / "again")  # fmt: skip
    true = read_particles(folder / "truth.star", particles_dir=folder)
    for name in ("run/run_data.star", "theirs/run_it004_data.star", "again/run_data.star"):
        found = read_particles(folder / name, particles_dir=folder)
        away = np.hypot(found.origin_x - true.origin_x, found.origin_y - true.origin_y)
        tilt = np.abs(found.tilt - true.tilt)
        # Poses that stay where they are: the grid of RELION is 0.9° and 1 px.
        assert np.median(away) < 1.5, name
        assert np.median(tilt) < 2.0, name


def test_maps_and_mask(simulated):
    folder = simulated("plain")
    told = relion(folder, "relion_image_handler --i map.mrc --stats")
    data = read_map(folder / "map.mrc").data
    for name, value in {"avg": data.mean(), "stddev": data.std(), "maxval": data.max(), "angpix": PIXEL}.items():
        assert float(re.search(rf"{name} ?= ([^\s;]+)", told)[1]) == pytest.approx(value, rel=1e-3)
    smooth = low_pass(read_map(folder / "map.mrc"), 15.0).data
    write_map(folder / "smooth.mrc", smooth, PIXEL)
    threshold = float(0.2 * smooth.max())
    line = f"--ini_threshold {threshold} --extend_inimask 0 --width_soft_edge 5 --angpix {PIXEL}"
    relion(folder, f"relion_mask_create --i smooth.mrc --o theirs.mrc {line}")
    words = ["--threshold", threshold, "--extend", 0, "--edge", 5, "--low-pass", 2 * PIXEL]
    pycryo("mask", folder / "smooth.mrc", "--out", folder / "ours.mrc", *words)
    ours, theirs = (mrcfile.read(folder / name) for name in ("ours.mrc", "theirs.mrc"))
    # The edges of the low-pass filters differ, and RELION extends a mask by a third of a px less: neither is asked for.
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
