"""``pycryo project`` against the exact projections of a phantom."""

import mrcfile
import numpy as np
import pytest
import starfile
from phantom import apply_ctf, blobs, write_set
from scipy.spatial.transform import Rotation

from pycryo.cli.main import main

BOX, PIXEL = 33, 3.0


@pytest.fixture
def folder(tmp_path):
    """map.mrc, an odd box, and particles.star with poses and CTF."""
    with mrcfile.new(tmp_path / "map.mrc") as file:
        file.set_data(blobs().volume(BOX, PIXEL).astype(np.float32))
        file.voxel_size = PIXEL
    write_set(tmp_path, blobs(), 7, geometries=((BOX, PIXEL),))
    return tmp_path


def run(folder, *words):
    """Exit code of ``pycryo project`` with file names in `folder`."""
    return main(
        ["project", *(str(folder / word) if word.endswith((".mrc", ".mrcs", ".star")) else word for word in words)]
    )


def read(folder, name="out"):
    with mrcfile.open(folder / f"{name}.mrcs") as file:
        assert file.voxel_size.x == pytest.approx(PIXEL)
        assert file.is_image_stack()
        images = file.data.copy()
    return images, starfile.read(folder / f"{name}.star")


def exact(table, with_ctf):
    """The phantom's projections, by the poses that a STAR file states."""
    angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy(float)
    origins = table[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy(float)
    rotations = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    images = blobs().images(rotations, origins, BOX, PIXEL) / PIXEL
    return apply_ctf(images, PIXEL, table["rlnDefocusU"].to_numpy(float)) if with_ctf else images


def assert_close(images, expected):
    # Trilinear interpolation at padding 2, frequencies beyond Nyquist cut off: measured 1.3 % of the images' norm.
    assert np.linalg.norm(images - expected) < 0.02 * np.linalg.norm(expected)


@pytest.mark.parametrize("with_ctf", [False, True])
def test_poses_of_a_file(folder, with_ctf):
    assert run(folder, "map.mrc", "--poses", "particles.star", "--out", "out.mrcs", *["--ctf"] * with_ctf) == 0
    images, tables = read(folder)
    given = starfile.read(folder / "particles.star")
    assert list(tables["particles"]["rlnImageName"]) == [f"{i:06d}@out.mrcs" for i in range(1, 8)]
    same = given["particles"].columns.drop("rlnImageName")
    assert tables["particles"][same].equals(given["particles"][same])
    assert_close(images, exact(given["particles"], with_ctf))


@pytest.mark.parametrize("with_ctf", [False, True])
def test_random_poses(folder, with_ctf):
    words = ("map.mrc", "--random", "9", "--shift-sd", "1.5", *["--ctf"] * with_ctf)
    assert run(folder, *words, "--out", "out.mrcs", "--seed", "3") == 0
    images, tables = read(folder)
    assert len(images) == 9
    assert ("rlnDefocusU" in tables["particles"]) == with_ctf
    assert float(tables["optics"]["rlnImagePixelSize"].iloc[0]) == PIXEL
    if not with_ctf:
        assert_close(images, exact(tables["particles"], False))
    assert run(folder, *words, "--out", "again.mrcs", "--seed", "3") == 0
    assert run(folder, *words, "--out", "other.mrcs", "--seed", "4") == 0
    np.testing.assert_array_equal(read(folder, "again")[0], images)
    assert not np.array_equal(read(folder, "other")[0], images)


def test_reconstruct_what_was_projected(folder):
    assert run(folder, "map.mrc", "--random", "200", "--ctf", "--out", "out.mrcs") == 0
    assert main(["reconstruct", str(folder / "out.star"), "--out", str(folder / "back.mrc")]) == 0
    back, truth = mrcfile.read(folder / "back.mrc"), mrcfile.read(folder / "map.mrc")
    assert np.corrcoef(back.ravel(), truth.ravel())[0, 1] > 0.99


def test_pixel_size_of_the_map_rules(folder):
    """Origins are Å: with half the pixel size they are twice as many px."""
    assert run(folder, "map.mrc", "--poses", "particles.star", "--out", "out.mrcs", "--pixel-size", "6") == 0
    tables = starfile.read(folder / "out.star")
    assert float(tables["optics"]["rlnImagePixelSize"].iloc[0]) == 6.0
    assert int(tables["optics"]["rlnImageSize"].iloc[0]) == BOX


@pytest.mark.parametrize(
    "words, message",
    [
        (("none.mrc", "--random", "3"), "none.mrc"),
        (("map.mrc", "--random", "0"), "--random must be at least 1"),
        (("map.mrc", "--random", "3", "--pad", "0"), "--padding must be at least 1"),
        (("map.mrc", "--random", "3", "--seed", "-1"), "--seed must be at least 0"),
        (("map.mrc", "--random", "3", "--shift-sd", "-1"), "--shift-sd must be 0 or more"),
        (("map.mrc", "--random", "3", "--ctf", "--defocus", "9", "8"), "--defocus-min must be at most"),
        (("map.mrc", "--random", "3", "--threads", "0"), "--threads must be at least 1"),
        (("map.mrc", "--poses", "none.star"), "none.star"),
        (("map.mrc", "--poses", "nopose.star"), "nopose.star has no"),
        (("map.mrc", "--poses", "noctf.star", "--ctf"), "which the CTF needs"),
        (("map.mrc", "--poses", "pixels.star"), "add rlnImagePixelSize"),
        (("map.mrc", "--poses", "out.star"), "choose another name"),
    ],
)
def test_wrong_use(folder, words, message, capsys):
    header = "data_particles\nloop_\n_rlnAngleRot #1\n_rlnAngleTilt #2\n"
    (folder / "nopose.star").write_text(header + "1 2\n")
    (folder / "noctf.star").write_text(header + "_rlnAnglePsi #3\n1 2 3\n")
    (folder / "pixels.star").write_text(header + "_rlnAnglePsi #3\n_rlnOriginX #4\n1 2 3 4\n")
    if "out.star" in words:
        (folder / "particles.star").rename(folder / "out.star")
    before = sorted(folder.iterdir())
    assert run(folder, *words, "--out", "out.mrcs") == 2
    assert message in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_output_that_cannot_be_written(folder, capsys):
    (folder / "dir.star").mkdir()
    for name in ("dir.mrcs", "no/out.mrcs"):
        assert run(folder, "map.mrc", "--random", "2", "--out", name) == 2
        assert "cannot write" in capsys.readouterr().err
    assert not list(folder.glob("*dir.mrcs"))


def test_needs_poses_or_random(folder, capsys):
    with pytest.raises(SystemExit) as error:
        run(folder, "map.mrc", "--out", "out.mrcs")
    assert error.value.code == 2
    assert "--poses --random is required" in capsys.readouterr().err


def test_aberrations_are_those_of_simulated_images(folder, monkeypatch):
    """`simulate` and `project --ctf` of its truth make the same images; `--ignore-optics` leaves out what it names."""
    monkeypatch.chdir(folder)
    lists = ("--beam-tilt=5,-9", "--odd-zernike=0,0,-500", "--even-zernike=0.3,20", "--magnification=1.03,0,-0.02,0.98")
    assert main(["simulate", "map.mrc", "--out", "sim", "--n", "5", "--snr", "1e6", "--padding", "2", *lists]) == 0
    simulated = mrcfile.read("sim/particles.mrcs")
    words = ("project", "map.mrc", "--poses", "sim/truth.star", "--ctf")
    likeness = {}
    for ignored in ("", "beam-tilt", "odd-zernike", "even-zernike", "magnification"):
        assert main([*words, "--ignore-optics", ignored, "--out", "out.mrcs"]) == 0
        images, tables = read(folder)
        likeness[ignored] = min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(images, simulated, strict=True))
        given = starfile.read("sim/truth.star")["optics"]
        assert tables["optics"][list(given)].equals(given)
    assert likeness.pop("") > 0.9999
    assert max(likeness.values()) < 0.995, likeness
