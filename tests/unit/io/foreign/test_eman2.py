"""EMAN2's lists of images."""

import numpy as np
import pytest
from foreign_files import lst_text
from scipy.spatial.transform import Rotation

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Given
from pycryo.io.foreign.formats import convert


def read(folder, text, **given):
    (folder / "a.lst").write_text(text)
    return convert([folder / "a.lst"], Given(**given))


@pytest.mark.parametrize("form", ["LSX", "LST"])
@pytest.mark.parametrize("kind", ["matrix", "text"])
def test_columns(form, kind, tmp_path):
    found = read(tmp_path, lst_text(form, kind))
    particles = found.particles
    assert particles["rlnImageName"].tolist() == [f"00000{i}@particles/a.mrcs" for i in (3, 4, 5)]
    angles = np.stack([particles[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")], axis=1)
    matrices = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    assert np.abs(matrices - [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]).max() < 1e-12
    # px, beside the matrix with the opposite sign
    np.testing.assert_allclose(particles["rlnOriginXAngst"], 2 * 1.5)
    np.testing.assert_allclose(particles["rlnOriginYAngst"], -3 * 1.5)
    np.testing.assert_allclose(particles["rlnDefocusU"], 12500)
    np.testing.assert_allclose(particles["rlnDefocusV"], 11500)
    assert particles["rlnRandomSubset"].tolist() == [1, 2, 1]
    assert found.optics["rlnAmplitudeContrast"].tolist() == [0.1]
    assert found.optics["rlnImagePixelSize"].tolist() == [1.5]
    assert found.notes == []


def test_images_only(tmp_path):
    text = "#LST\n0\ta.mrcs\n7 b.mrcs 496.5, 1.5,-2.8\n"
    found = read(tmp_path, text, pixel_size=2.0)
    assert found.particles["rlnImageName"].tolist() == ["000001@a.mrcs", "000008@b.mrcs"]
    assert "rlnAngleRot" not in found.particles
    assert any("no xform.projection" in note for note in found.notes)


def test_a_stack_that_is_given(tmp_path):
    """As the list's images are written into it."""
    text = lst_text().replace("a.mrcs", "a__ctf_flip.hdf")
    with pytest.raises(InputError, match=r"'particles/a__ctf_flip\.hdf' is no MRC file; write .* --stack"):
        read(tmp_path, text)
    found = read(tmp_path, text, stack="s.mrcs")
    assert found.particles["rlnImageName"].tolist() == ["000001@s.mrcs", "000002@s.mrcs", "000003@s.mrcs"]


def test_what_is_told(tmp_path):
    notes = "\n".join(read(tmp_path, lst_text(tilt_id=3).replace("a.mrcs", "a__ctf_flip.mrcs")).notes)
    assert "left out: tilt_id" in notes
    assert "phase-flipped" in notes


@pytest.mark.parametrize(
    "text, words",
    [
        ("#LSX\n# x\n# 10\n", "lists no images"),
        ("#LSX\nx\ta.mrcs\n", "line 2: not the number and the file"),
        ("#LSX\n-1\ta.mrcs\n", "line 2: not the number and the file"),
        ("#LSX\n1\n", "line 2: not the number and the file"),
        ("#LSX\n1\ta.mrcs\n", "give it by --pixel-size"),
        (lst_text().replace("1.0,0.0]", "0.5,0.0]"), "is no rotation"),
        (lst_text().replace("-1.0,", "1.0,"), "is no rotation"),
        (lst_text().replace("[0.0,", "["), "is no list of 12 numbers"),
        (lst_text().replace('"cs":2.7', '"cs":"x"'), "ctf cs is 'x'"),
        (lst_text(kind="text").replace("1.0", "nan"), "is ' ?nan', not a number"),
    ],
)
def test_what_is_refused(text, words, tmp_path):
    with pytest.raises(InputError, match=rf"a\.lst.*{words}"):
        read(tmp_path, text)
