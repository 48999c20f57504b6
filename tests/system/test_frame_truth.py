"""Maps and poses that are mirrored or turned belong together: what is reconstructed of them is the changed map.

The images are integrals of Gaussian blobs along their viewing axes, and stay as they are.
"""

import json

import numpy as np
import pytest
import starfile
from phantom import Phantom, blobs, write_30, write_set
from scipy.spatial.transform import Rotation

from pycryo.cli.main import main
from pycryo.geometry.frame_changes import AXES
from pycryo.io.mrc import read_map, write_map
from pycryo.maps.density import Map
from pycryo.maps.turn import mirrored

BOX, PIXEL, N = 32, 3.0, 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """particles.star with its stack, old.star in the form of RELION 3.0, and the map that is reconstructed of them."""
    folder = tmp_path_factory.mktemp("set")
    write_30(write_set(folder, blobs(), N, geometries=((BOX, PIXEL),)))
    reconstruct(folder / "particles.star", folder / "map.mrc")
    return folder


def reconstruct(star, out, *words):
    assert main(["reconstruct", str(star), "--out", str(out), "--threads", "1", *words]) == 0
    return read_map(out).data


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["particles", "old"])
def test_flipped_poses_make_the_flipped_map(folder, tmp_path, axis, name):
    star, flipped = tmp_path / "flipped.star", tmp_path / "flipped.mrc"
    assert main(["flip", str(folder / f"{name}.star"), "--out", str(star), "--axis", axis]) == 0
    assert main(["flip", str(folder / "map.mrc"), "--out", str(flipped), "--axis", axis]) == 0
    found, expected = reconstruct(star, tmp_path / "found.mrc"), read_map(flipped).data
    # An even box has no mirror image of its first planes; angles are written to 1e-6 degrees.
    inner = (slice(1, None),) * 3
    np.testing.assert_allclose(found[inner], expected[inner], atol=2e-3 * expected.max())
    assert correlation(found, read_map(folder / "map.mrc").data) < 0.9


def test_flip_turns_the_hand_of_the_ewald_sphere(folder, tmp_path):
    """With the CTF of a low voltage's thick particle; the wrong hand makes another map."""
    assert main(["flip", str(folder / "particles.star"), "--out", str(tmp_path / "flipped.star")]) == 0
    for source in (folder / "particles.star", tmp_path / "flipped.star"):
        tables = starfile.read(source)
        tables["optics"]["rlnVoltage"] = 20.0
        names = tables["particles"]["rlnImageName"]
        tables["particles"]["rlnImageName"] = [f"{name.split('@')[0]}@{folder}/g1.mrcs" for name in names]
        starfile.write(tables, tmp_path / f"thick_{source.name}", overwrite=True)
    made = {
        (name, hand): reconstruct(
            tmp_path / f"thick_{name}.star", tmp_path / "out.mrc", "--ewald", "--ewald-hand", hand, "--diameter", "80"
        )
        for name, hand in (("particles", "1"), ("flipped", "-1"), ("flipped", "1"))
    }
    expected = mirrored(Map(made["particles", "1"], PIXEL), "z").data
    inner = (slice(1, None),) * 3
    right, wrong = (np.abs(made["flipped", hand] - expected)[inner].max() for hand in ("-1", "1"))
    assert right < 2e-3 * expected.max()
    assert wrong > 10 * right


def test_flipped_run(folder, tmp_path):
    """All of its maps, its poses, and the hand that it used; twice is the run again."""
    run = tmp_path / "run"
    run.mkdir()
    write_run(run, folder, symmetry="I3", options={"ewald_hand": 1}, postprocess=[{"map": "sharp.mrc"}])
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert main(["flip", str(run), "--out", str(once)]) == 0
    assert main(["flip", str(once), "--out", str(twice)]) == 0
    for name in ("run_class001", "run_half1_class001_unfil", "run_half2_class001_unfil", "run_mask"):
        before = read_map(run / f"{name}.mrc")
        np.testing.assert_array_equal(read_map(once / f"{name}.mrc").data, mirrored(before, "y").data)
        np.testing.assert_array_equal(read_map(twice / f"{name}.mrc").data, before.data)
    told = json.loads((once / "run.json").read_text())
    assert told["frame"]["mirrored"] == "y"  # the axes of I3 stay with no other
    assert told["options"]["ewald_hand"] == -1
    assert "postprocess" not in told  # its map is not there
    assert json.loads((twice / "run.json").read_text())["options"]["ewald_hand"] == 1
    before, after = (starfile.read(each / "run_data.star")["particles"] for each in (run, twice))
    for label in before:
        if label.startswith("rlnAngle"):
            away = (before[label] - after[label] + 180) % 360 - 180
            assert np.abs(away).max() < 3e-6
        else:
            assert (before[label] == after[label]).all()


def test_flipped_run_of_two_classes(folder, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    write_run(run, folder, classes=2)
    for name in ("run_class001", "run_half1_class001_unfil", "run_half2_class001_unfil"):
        second = read_map(run / f"{name}.mrc").data[::-1]
        write_map(run / f"{name.replace('001', '002')}.mrc", second, PIXEL)
    for name in ("run_fsc.star", "run_fsc.xml", "run_fsc_class002.star", "run_fsc_class002.xml"):
        (run / name).write_text(f"curve of {name}")
    assert main(["flip", str(run), "--out", str(out)]) == 0
    for path in run.iterdir():
        assert (out / path.name).is_file()
        if path.name.startswith("run_fsc"):
            assert (out / path.name).read_bytes() == path.read_bytes()
    before = read_map(run / "run_class002.mrc")
    np.testing.assert_array_equal(read_map(out / "run_class002.mrc").data, mirrored(before, "z").data)


def write_run(run, folder, **told):
    """Files of a finished refinement."""
    source = read_map(folder / "map.mrc")
    for name in ("run_class001", "run_half1_class001_unfil", "run_half2_class001_unfil", "run_mask"):
        data = source.data if name != "run_mask" else (source.data > 0.2 * source.data.max()).astype(np.float32)
        write_map(run / f"{name}.mrc", data, PIXEL)
    text = (folder / "particles.star").read_text().replace("@g1.mrcs", f"@{folder}/g1.mrcs")
    (run / "run_data.star").write_text(text)
    (run / "run.json").write_text(json.dumps({"status": "done"} | told))


@pytest.fixture(scope="module")
def aslant(tmp_path_factory):
    """Particles of a body with a 2-fold axis that is neither along z nor through the origin."""
    folder = tmp_path_factory.mktemp("aslant")
    straight, turn = blobs(2), Rotation.from_euler("xyz", [25, -35, 10], degrees=True)
    body = Phantom(turn.apply(straight.centres) + np.array([4.0, -3.0, 5.0]), straight.widths, straight.masses)
    write_30(write_set(folder, body, N, geometries=((BOX, PIXEL),)))
    write_map(folder / "map.mrc", body.volume(BOX, PIXEL).astype(np.float32), PIXEL)
    return folder


@pytest.mark.parametrize("name", ["particles", "old"])
def test_turned_poses_make_the_turned_map(aslant, tmp_path, name):
    words = ["--sym", "C2", "--threads", "1", "--out", str(tmp_path / "turned.mrc")]
    star = str(aslant / f"{name}.star")
    assert main(["symmetry", str(aslant / "map.mrc"), *words, "--particles", star]) == 0
    found = reconstruct(tmp_path / "turned.star", tmp_path / "found.mrc")
    straight = blobs(2)
    # The body about z is found but for a turn about z, which the group's convention leaves open.
    assert correlation(found, read_map(tmp_path / "turned.mrc").data) > 0.99
    inner = found[1:, 1:, 1:]  # an even box has no mirror image of its first planes
    assert correlation(inner, np.rot90(inner, 2, axes=(1, 2))) > 0.9
    assert correlation(read_map(aslant / "map.mrc").data, found) < 0.9
    assert found.max() == pytest.approx(straight.volume(BOX, PIXEL).max(), rel=0.4)


def test_turned_run(aslant, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    write_run(run, aslant, symmetry="C1")
    assert main(["symmetry", str(run), "--sym", "C2", "--threads", "1", "--out", str(out)]) == 0
    found = reconstruct(out / "run_data.star", tmp_path / "found.mrc")
    assert correlation(found, read_map(out / "run_class001.mrc").data) > 0.99
    mask = read_map(out / "run_mask.mrc").data
    assert 0 <= mask.min() <= mask.max() <= 1
    assert (out / "RELION_JOB_EXIT_SUCCESS").exists()
    assert json.loads((out / "run.json").read_text())["frame"]["symmetry"] == "C2"


def test_expanded_particles_make_the_symmetric_map(tmp_path):
    write_set(tmp_path, blobs(3), 60, geometries=((BOX, PIXEL),))
    star, expanded = tmp_path / "particles.star", tmp_path / "expanded.star"
    assert main(["symmetry", str(star), "--sym", "C3", "--expand", "--out", str(expanded)]) == 0
    assert len(starfile.read(expanded)["particles"]) == 180
    # RELION's 1e-6 degrees; each image three times as heavy against what regularises.
    found = reconstruct(expanded, tmp_path / "found.mrc")
    expected = reconstruct(star, tmp_path / "expected.mrc", "--sym", "C3")
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())
