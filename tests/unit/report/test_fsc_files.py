"""FSC files read back by other readers: starfile, an XML parser, an image reader."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import starfile

from pycryo.errors import InputError
from pycryo.maps.density import soft_sphere
from pycryo.maps.fsc import corrected_fsc
from pycryo.report.fsc_files import read_fsc_star, write_fsc_png, write_fsc_star, write_fsc_xml


@pytest.fixture
def curves(rng):
    signal = rng.standard_normal((24, 24, 24)).astype(np.float32)
    halves = [signal + rng.standard_normal(signal.shape).astype(np.float32) for _ in "12"]
    return corrected_fsc(*halves, 2.0, soft_sphere(24, 8, 3))


def test_star(tmp_path, curves):
    write_fsc_star(tmp_path / "fsc.star", curves)
    tables = starfile.read(tmp_path / "fsc.star")
    assert tables["general"]["rlnFinalResolution"] == pytest.approx(curves.resolution_0143, abs=1e-6)
    assert tables["general"]["rlnRandomiseFrom"] == pytest.approx(48 / curves.randomised_from, abs=1e-6)
    table = tables["fsc"]
    assert list(table["rlnSpectralIndex"]) == list(range(13))
    np.testing.assert_allclose(table["rlnResolution"], curves.frequency, atol=1e-6)
    np.testing.assert_allclose(table["rlnAngstromResolution"][1:], curves.resolution[1:], atol=1e-6)
    for label, values in {
        "rlnFourierShellCorrelationUnmaskedMaps": curves.unmasked,
        "rlnFourierShellCorrelationMaskedMaps": curves.masked,
        "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": curves.randomised,
        "rlnFourierShellCorrelationCorrected": curves.corrected,
    }.items():
        np.testing.assert_allclose(table[label], values, atol=1e-6)


@pytest.mark.parametrize("value", ["0", "nan", "far"])
def test_a_spoiled_star_file_is_told_as_such(tmp_path, curves, value):
    path = tmp_path / "fsc.star"
    write_fsc_star(path, curves)
    text = re.sub(r"(_rlnRandomiseFrom\s+)\S+", rf"\g<1>{value}", path.read_text())
    assert text != path.read_text()
    path.write_text(text)
    with pytest.raises(InputError, match=r"fsc\.star is not as pycryo writes it"):
        read_fsc_star(path, 24, 2.0)


def test_xml(tmp_path, curves):
    write_fsc_xml(tmp_path / "fsc.xml", curves)
    root = ET.parse(tmp_path / "fsc.xml").getroot()
    assert root.tag == "fsc"
    x, y = (np.array([float(point.findtext(name)) for point in root.iter("coordinate")]) for name in "xy")
    np.testing.assert_allclose(x, curves.frequency, atol=1e-6)
    np.testing.assert_allclose(y, curves.corrected, atol=1e-6)


def test_plot(tmp_path, curves):
    from matplotlib.image import imread

    write_fsc_png(tmp_path / "fsc.png", curves, "halves")
    picture = imread(tmp_path / "fsc.png")
    assert picture.shape[0] > 400
    assert picture[..., :3].std() > 0.05  # not blank
