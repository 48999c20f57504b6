"""Axes found in maps that were turned and moved on purpose; the command `symmetry`."""

import mrcfile
import numpy as np
import pytest
from phantom import Phantom
from scene import lump
from scipy.spatial.transform import Rotation

from pycryo.cli.main import main
from pycryo.errors import InputError
from pycryo.geometry.frames import some_turns
from pycryo.geometry.rotations import angle_between
from pycryo.geometry.symmetry import Symmetry, symmetry
from pycryo.maps.density import Map
from pycryo.maps.fsc import fsc
from pycryo.maps.symmetry_axes import find_axes
from pycryo.maps.turn import turned

BOX, PIXEL = 48, 3.0
# Rotations that bring the axes of a group onto themselves.
NORMALISER = {"D2": "O", "D3": "D6", "D7": "D14"}


def body(name, n=None):
    """A phantom of a group, of about 24 blobs within 36 Å."""
    group = Rotation.from_matrix(symmetry(name).matrices)
    return lump(group, n=n or max(2, 24 // len(group)), extent=36.0)


def moved(phantom, turn, move, noise=0.0, box=BOX):
    """Its map, turned and then moved by (x, y, z) in px."""
    centres = turn.apply(phantom.centres) + np.array(move) * PIXEL
    data = Phantom(centres, phantom.widths, phantom.masses).volume(box, PIXEL)
    data += noise * np.random.default_rng(4).standard_normal(data.shape)
    return Map(data.astype(np.float32), PIXEL)


@pytest.mark.parametrize("name", ["D2", "D3", "D7", "T", "O", "I1", "I2", "I3", "I4"])
def test_axes_and_centre_are_found(name):
    turn, move = Rotation.from_rotvec([0.7, -0.4, 0.9]), np.array([2.3, -1.6, 0.8])
    group = symmetry(name)
    frame = find_axes(moved(body(name), turn, move), group)
    true = np.roll(turn.as_quat(), 1)
    if name == "T":  # the group O about the 2-fold axes of T
        other = symmetry("O")
        corner = Rotation.align_vectors([[0, 0, 1], [0, np.sqrt(2), 1]], [[1, 1, 1], [0, 0, 1]])[0]
        mates = Rotation.from_matrix([corner.as_matrix() @ m @ corner.as_matrix().T for m in other.matrices])
        normaliser = Symmetry("O'", np.roll(mates.as_quat(), 1, axis=1))
    else:
        normaliser = symmetry(NORMALISER.get(name, name))
    # A tenth of a degree moves the blobs, 36 Å out, by 0.06 Å: 2 % of the 3 Å of a voxel.
    assert np.degrees(angle_between(normaliser.nearest(true, frame.quaternion), frame.quaternion)) < 0.1
    assert np.linalg.norm(frame.centre - move) < 0.1
    assert frame.weakest > 0.85
    assert frame.before < 0.3
    # Of the equal frames, the one that turns least.
    choices = normaliser.equivalents(frame.quaternion)
    assert np.abs(frame.quaternion[0]) >= np.abs(choices[:, 0]).max() - 1e-9


@pytest.mark.parametrize("name, axis", [("C2", 2), ("C5", 2), ("C12", 2), ("D1", 0)])
def test_single_axis_is_found(name, axis):
    turn, move = Rotation.from_rotvec([0.7, -0.4, 0.9]), np.array([2.3, -1.6, 0.8])
    frame = find_axes(moved(body(name, n=6), turn, move), symmetry(name))
    true, found = turn.as_matrix()[:, axis], frame.matrix[:, axis]
    assert np.degrees(np.arccos(abs(true @ found))) < 0.1
    # The point of the true axis that is next to the centre voxel.
    np.testing.assert_allclose(frame.centre, move - (move @ true) * true, atol=0.1)
    # No more of a turn than the axis needs.
    assert np.degrees(angle_between(frame.quaternion, np.array([1.0, 0, 0, 0]))) == pytest.approx(
        np.degrees(np.arccos(abs(found[axis]))), abs=1e-6
    )


def test_aligned_map_stays():
    frame = find_axes(moved(body("D3"), Rotation.identity(), np.zeros(3)), symmetry("D3"))
    assert np.degrees(angle_between(frame.quaternion, np.array([1.0, 0, 0, 0]))) < 0.05
    np.testing.assert_allclose(frame.centre, 0, atol=0.03)
    assert frame.before == pytest.approx(frame.correlation, abs=0.01)


def test_noise_and_odd_box():
    """Noise of the strength of the density; a coarser resolution leaves most of it out."""
    turn, move = Rotation.from_rotvec([0.2, 1.1, -0.5]), np.array([-1.2, 0.4, 2.1])
    clean = moved(body("D3"), turn, move, box=49).data
    source = moved(body("D3"), turn, move, noise=float(clean[clean > 0.05 * clean.max()].std()), box=49)
    frame = find_axes(source, symmetry("D3"), resolution=12.0)
    true = np.roll(turn.as_quat(), 1)
    assert np.degrees(angle_between(symmetry("D6").nearest(true, frame.quaternion), frame.quaternion)) < 1.5
    assert np.linalg.norm(frame.centre - move) < 0.3
    assert frame.weakest > 0.6


@pytest.mark.parametrize(
    "built, asked", [("C1", "C2"), ("C1", "I"), ("C2", "C4"), ("D2", "T"), ("D3", "D6"), ("T", "O")]
)
def test_absent_symmetry_has_a_weak_rotation(built, asked):
    source = moved(body(built), Rotation.from_rotvec([0.7, -0.4, 0.9]), (0, 0, 0))
    assert find_axes(source, symmetry(asked)).weakest < 0.5


@pytest.mark.parametrize("name", ["C4", "C24", "D2", "D4", "D7", "T", "O", "I1", "I2", "I3", "I4"])
@pytest.mark.parametrize("n", [4, 12])
def test_turns_of_the_search_make_the_whole_group(name, n):
    group, some = symmetry(name), some_turns(symmetry(name), n)
    assert len(some) <= n
    made = np.array([[1.0, 0, 0, 0]])
    for _ in range(len(group)):
        products = np.concatenate([made, Symmetry("", some).equivalents(made).reshape(-1, 4)])
        which = np.unique(np.abs(products @ group.quaternions.T).argmax(axis=1))
        if len(which) == len(made):
            break
        made = group.quaternions[which]
    assert len(made) == len(group)


def test_turned_map():
    """A quarter turn and whole px are exact but for the splines' rounding; other turns follow the phantom."""
    phantom = lump(n=8, extent=30.0)
    source = moved(phantom, Rotation.identity(), (0, 0, 0))
    quarter = Rotation.from_euler("z", 90, degrees=True)
    found = turned(source, quarter.inv().as_matrix()[None], np.array([2.0, 0.0, -1.0]))
    # V'(u) = V(M u + c): the body is moved by -c, then turned by the inverse of M.
    expected = moved(phantom, quarter, quarter.apply([-2, 0, 1])).data
    np.testing.assert_allclose(found.data, expected, atol=1e-5 * source.data.max())
    turn = Rotation.from_rotvec([0.3, 1.0, -0.6])
    found = turned(source, turn.inv().as_matrix()[None], np.array([0.4, -1.3, 2.2]))
    expected = moved(phantom, turn, turn.apply([-0.4, 1.3, -2.2])).data
    # Cubic splines of blobs of 1 px and more: a few per cent at the worst voxel.
    assert np.abs(found.data - expected).max() < 0.03 * expected.max()
    assert found.pixel_size == PIXEL


def test_average_over_a_group():
    """Of a body without symmetry: the sum of its mates."""
    phantom, group = lump(n=8, extent=30.0), Rotation.create_group("T")
    matrices = group.as_matrix()
    found = turned(moved(phantom, Rotation.identity(), (0, 0, 0)), matrices, np.zeros(3))
    expected = np.mean([moved(phantom, mate, (0, 0, 0)).data for mate in group], axis=0)
    assert fsc(found.data, expected)[1:20].min() > 0.99


def write(path, source):
    with mrcfile.new(path, source.data) as file:
        file.voxel_size = source.pixel_size


def test_command(tmp_path, caplog):
    caplog.set_level("INFO")
    phantom = body("O")
    write(tmp_path / "in.mrc", moved(phantom, Rotation.from_rotvec([0.7, -0.4, 0.9]), (2.3, -1.6, 0.8)))
    words = ["symmetry", str(tmp_path / "in.mrc"), "--sym", "o", "--out", str(tmp_path / "out.mrc"), "--threads", "1"]
    straight = moved(phantom, Rotation.identity(), (0, 0, 0)).data
    for more in ([], ["--symmetrise"]):
        assert main([*words, *more]) == 0
        with mrcfile.open(tmp_path / "out.mrc") as file:
            assert file.voxel_size.x == pytest.approx(PIXEL)
            # The true map in the convention's frame, of the same hand: its mirror image fits to 20 Å only.
            assert fsc(file.data, straight)[1:16].min() > 0.98
            assert fsc(file.data[::-1], straight)[1:16].min() < 0.7
    assert "weakest" in caplog.text
    assert "correlation" in caplog.text


@pytest.mark.parametrize(
    "words, message",
    [
        (("--sym", "T"), "does not have the symmetry T"),
        (("--sym", "C1"), "C1 has no axes"),
        (("--sym", "Q"), "symmetry 'Q' is unknown"),
        (("--sym", "D2", "--resolution", "90"), "at most a sixth of the box, 24 Å"),
        (("--sym", "D2", "--min-correlation", "2"), "--min-correlation must lie"),
        (("--sym", "D2", "--threads", "0"), "--threads must be at least 1"),
    ],
)
def test_command_refuses(tmp_path, capsys, words, message):
    write(tmp_path / "in.mrc", moved(body("C1"), Rotation.identity(), (0, 0, 0)))
    assert main(["symmetry", str(tmp_path / "in.mrc"), *words, "--out", str(tmp_path / "out.mrc")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.mrc").exists()


def test_maps_that_tell_nothing():
    group = symmetry("C2")
    with pytest.raises(InputError, match="16"):
        find_axes(Map(np.ones((15, 15, 15), np.float32), 1.0), group)
    with pytest.raises(InputError, match="no density above 0"):
        find_axes(Map(np.zeros((24, 24, 24), np.float32), 3.0), group)
