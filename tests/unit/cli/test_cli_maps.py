"""Commands `fsc`, `mask` and `simulate`, run in this process on small files."""

import mrcfile
import numpy as np
import pytest
import starfile

from pycryo.cli.main import main
from pycryo.maps.density import Map, soft_sphere
from pycryo.maps.fsc import corrected_fsc
from pycryo.maps.masks import fitted_mask


@pytest.fixture
def halves(tmp_path, rng):
    """Half-maps of a noisy ball, 24 px of 3 Å."""
    ball = soft_sphere(24, 6, 2)
    data = [ball + np.float32(0.3) * rng.standard_normal(ball.shape, dtype=np.float32) for _ in "12"]
    for number, half in enumerate(data, 1):
        write(tmp_path / f"half{number}.mrc", half, 3.0)
    write(tmp_path / "mask.mrc", soft_sphere(24, 8, 3), 3.0)
    return data


def write(path, data, pixel_size):
    with mrcfile.new(path, data.astype(np.float32), overwrite=True) as file:
        file.voxel_size = pixel_size


def run(folder, *words):
    """Exit code of ``pycryo`` with file names in `folder`."""
    return main([str(folder / word) if word.endswith((".mrc", ".pdb", "sim", "curve")) else word for word in words])


def test_fsc_writes_table_and_files(tmp_path, halves, capsys):
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--mask", "mask.mrc", "--out", "curve", "--seed", "4") == 0
    expected = corrected_fsc(*halves, 3.0, soft_sphere(24, 8, 3), seed=4)
    printed = capsys.readouterr().out
    assert f"corrected {expected.resolution_0143:.2f} Å" in printed
    assert len(printed.splitlines()) == 1 + 13 + 2
    table = starfile.read(tmp_path / "curve.star")["fsc"]
    np.testing.assert_allclose(table["rlnFourierShellCorrelationCorrected"], expected.corrected, atol=1e-5)
    assert (tmp_path / "curve.xml").stat().st_size > 0
    assert (tmp_path / "curve.png").stat().st_size > 0


def test_fsc_auto_mask_and_none(tmp_path, halves, capsys):
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--auto-mask") == 0
    masked = capsys.readouterr().out
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc") == 0
    assert capsys.readouterr().out != masked
    assert not list(tmp_path.glob("curve*"))


def test_fsc_of_maps_that_differ(tmp_path, halves, capsys):
    write(tmp_path / "other.mrc", halves[1][:20, :20, :20], 3.0)
    write(tmp_path / "finer.mrc", halves[1], 2.0)
    for other in ("other.mrc", "finer.mrc"):
        assert run(tmp_path, "fsc", "half1.mrc", other) == 2
        assert "differ in box or pixel size" in capsys.readouterr().err
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--mask", "other.mrc") == 2
    assert "other.mrc: the values of a mask must lie between 0 and 1" in capsys.readouterr().err
    assert run(tmp_path, "fsc", "half1.mrc", "none.mrc") == 2


@pytest.mark.parametrize("box, pixel_size", [(24, 3.01), (48, 1.5), (20, 3.0)])
def test_fsc_with_a_mask_of_another_grid(tmp_path, halves, capsys, box, pixel_size):
    """A sharp mask: interpolated it would swing beyond 0 and 1."""
    sharp = soft_sphere(box, 8 * 3.0 / pixel_size, 0)
    write(tmp_path / "sharp.mrc", sharp, pixel_size)
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--mask", "sharp.mrc") == 0
    expected = corrected_fsc(*halves, 3.0, fitted_mask(Map(sharp, pixel_size), 24, 3.0))
    assert f"masked {expected.resolution_at(0.143, 'masked'):.2f} Å" in capsys.readouterr().out


def test_fsc_pixel_size_holds_for_the_mask(tmp_path, halves, capsys):
    """With the files' 3 Å called 2 Å: a mask of the maps' box is theirs, one of half the pixel size stays so."""
    write(tmp_path / "finer.mrc", soft_sphere(48, 16, 6), 1.5)
    printed = {}
    for mask in ("mask.mrc", "finer.mrc"):
        assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--mask", mask, "--pixel-size", "2") == 0
        printed[mask] = capsys.readouterr().out
    expected = corrected_fsc(*halves, 2.0, soft_sphere(24, 8, 3))
    assert f"corrected {expected.resolution_0143:.2f} Å" in printed["mask.mrc"]
    fine = fitted_mask(Map(soft_sphere(48, 16, 6), 1.5), 24, 3.0)
    assert f"corrected {corrected_fsc(*halves, 2.0, fine).resolution_0143:.2f} Å" in printed["finer.mrc"]
    write(tmp_path / "unknown.mrc", soft_sphere(48, 16, 6), 0)
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--mask", "unknown.mrc", "--pixel-size", "2") == 2
    assert "a mask must have the maps' box, 24 px" in capsys.readouterr().err


def test_fsc_tells_a_mask_of_another_pixel_size(tmp_path, halves, caplog):
    write(tmp_path / "odd.mrc", soft_sphere(24, 8, 3), 2.0)
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--mask", "odd.mrc") == 0
    assert "odd.mrc has a box of 24 px as well, but pixels of 2 Å, not 3 Å" in caplog.text


def test_fsc_of_one_map_and_inverted_masks_are_told(tmp_path, halves, caplog):
    write(tmp_path / "out.mrc", 1 - soft_sphere(24, 8, 3), 3.0)
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--mask", "out.mrc") == 0
    assert "out.mrc is 1 at the faces of its box" in caplog.text
    assert "the same map" not in caplog.text
    assert run(tmp_path, "fsc", "half1.mrc", "half1.mrc") == 0
    assert "are the same map: give both half-maps" in caplog.text


@pytest.mark.parametrize("size", [0, 1])
def test_fsc_pixel_size_of_maps_that_have_none(tmp_path, halves, capsys, size):
    """A mask of another box keeps its pixel size, as headers of 0 and 1 Å say nothing of the maps."""
    for number, half in enumerate(halves, 1):
        write(tmp_path / f"half{number}.mrc", half, size)
    fine = soft_sphere(48, 16, 6)
    write(tmp_path / "fine.mrc", fine, 1.5)
    assert run(tmp_path, "fsc", "half1.mrc", "half2.mrc", "--mask", "fine.mrc", "--pixel-size", "3") == 0
    expected = corrected_fsc(*halves, 3.0, fitted_mask(Map(fine, 1.5), 24, 3.0))
    assert f"corrected {expected.resolution_0143:.2f} Å" in capsys.readouterr().out


def test_mask_does_not_overwrite_its_map(tmp_path, halves, capsys):
    before = (tmp_path / "half1.mrc").read_bytes()
    (tmp_path / "link.mrc").symlink_to(tmp_path / "half1.mrc")
    for name in ("half1.mrc", "link.mrc"):
        assert run(tmp_path, "mask", "half1.mrc", "--out", name) == 2
        assert "is read, and would be overwritten by the result" in capsys.readouterr().err
    assert (tmp_path / "half1.mrc").read_bytes() == before


def place_of(path):
    with mrcfile.open(path, header_only=True) as file:
        header = file.header
        starts = [int(header[name]) for name in ("nxstart", "nystart", "nzstart")]
        return starts, [float(header.origin[axis]) for axis in "xyz"]


def placed(path, axes=(1, 2, 3)):
    """The file's map starts at voxels -3, 5, 7 of its columns, rows and sections, and at 1.5, -20, 300 Å."""
    with mrcfile.open(path, "r+") as file:
        file.header["nxstart"], file.header["nystart"], file.header["nzstart"] = -3, 5, 7
        file.header.origin = (1.5, -20.0, 300.0)
        file.header["mapc"], file.header["mapr"], file.header["maps"] = axes


def test_mask_lies_where_the_map_does(tmp_path, halves):
    placed(tmp_path / "half1.mrc")
    assert run(tmp_path, "mask", "half1.mrc", "--out", "new.mrc") == 0
    assert place_of(tmp_path / "new.mrc") == ([-3, 5, 7], [1.5, -20, 300])
    # A pixel size of two thirds moves the origin in proportion; so the voxels stay where they are on the map.
    assert run(tmp_path, "mask", "half1.mrc", "--out", "new.mrc", "--pixel-size", "2") == 0
    assert place_of(tmp_path / "new.mrc") == ([-3, 5, 7], [1, pytest.approx(-40 / 3), 200])
    placed(tmp_path / "half1.mrc", axes=(3, 1, 2))  # columns are z, rows x, sections y
    assert run(tmp_path, "mask", "half1.mrc", "--out", "new.mrc") == 0
    assert place_of(tmp_path / "new.mrc") == ([5, 7, -3], [1.5, -20, 300])
    assert run(tmp_path, "mask", "half2.mrc", "--out", "new.mrc") == 0
    assert place_of(tmp_path / "new.mrc") == ([0, 0, 0], [0, 0, 0])


def test_mask_refuses_a_low_pass_coarser_than_the_box(tmp_path, halves, capsys):
    assert run(tmp_path, "mask", "half1.mrc", "--out", "new.mrc", "--low-pass", "37") == 2
    assert "--low-pass is 37 Å, but the box is only 72 Å wide" in capsys.readouterr().err


def test_mask(tmp_path, halves):
    write(tmp_path / "mean.mrc", (halves[0] + halves[1]) / 2, 3.0)
    assert run(tmp_path, "mask", "mean.mrc", "--out", "new.mrc", "--extend", "1", "--edge", "3") == 0
    with mrcfile.open(tmp_path / "new.mrc") as file:
        assert file.voxel_size.x == pytest.approx(3.0)
        mask = file.data.copy()
    assert (mask.min(), mask.max()) == (0, 1)
    assert mask[12, 12, 12] == 1
    assert run(tmp_path, "mask", "mean.mrc", "--out", "new.mrc", "--extend", "-1") == 2
    assert run(tmp_path, "mask", "mean.mrc", "--out", "new.mrc", "--threshold", "99") == 2


def test_simulate_from_map(tmp_path, halves):
    write(tmp_path / "ball.mrc", soft_sphere(24, 6, 2), 3.0)
    words = ("simulate", "ball.mrc", "--out", "sim", "--n", "12", "--box", "20", "--pixel-size", "3.5", "--junk", "0.4")
    assert run(tmp_path, *words) == 0
    folder = tmp_path / "sim"
    with mrcfile.open(folder / "particles.mrcs") as file:
        assert file.data.shape == (12, 20, 20)
        assert file.voxel_size.x == pytest.approx(3.5)
        assert file.is_image_stack()
    for name in ("map.mrc", "mask.mrc", "init40A.mrc"):
        with mrcfile.open(folder / name) as file:
            assert file.data.shape == (20, 20, 20)
            assert file.voxel_size.x == pytest.approx(3.5)
    truth, given = (starfile.read(folder / name) for name in ("truth.star", "particles.star"))
    assert float(given["optics"]["rlnImagePixelSize"].iloc[0]) == 3.5
    assert int(given["optics"]["rlnImageSize"].iloc[0]) == 20
    assert list(given["particles"]["rlnImageName"][:2]) == ["000001@particles.mrcs", "000002@particles.mrcs"]
    assert not {"rlnAngleRot", "rlnOriginXAngst", "simJunk"} & set(given["particles"].columns)
    assert {"rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst"} < set(truth["particles"].columns)
    assert 0 < truth["particles"]["simJunk"].sum() < 12
    assert set(truth["particles"]["rlnRandomSubset"]) == {1, 2}


def test_simulate_same_seed_same_files(tmp_path):
    write(tmp_path / "ball.mrc", soft_sphere(16, 4, 2), 3.0)
    for _ in "12":
        assert run(tmp_path, "simulate", "ball.mrc", "--out", "sim", "--n", "3", "--seed", "8") == 0
        (tmp_path / "sim").rename(tmp_path / f"sim{len(list(tmp_path.glob('sim*')))}")
    one, two = sorted(tmp_path.glob("sim*"))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


@pytest.mark.parametrize(
    "words, message",
    [
        (("model.pdb",), "give --box and --pixel-size"),
        (("ball.mrc", "--box", "2"), "--box must be"),
        (("ball.mrc", "--snr", "0"), "--snr must be positive"),
        (("none.mrc",), "none.mrc"),
    ],
)
def test_simulate_wrong_use(tmp_path, words, message, capsys):
    write(tmp_path / "ball.mrc", soft_sphere(16, 4, 2), 3.0)
    assert run(tmp_path, "simulate", *words, "--out", "sim") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "sim").exists()
