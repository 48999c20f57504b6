"""Files of a sharpened map, read by others: starfile, mrcfile, an XML parser, an image reader."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
from matplotlib.image import imread
from scattered import PIXEL, half_maps

from pycryo.errors import InputError
from pycryo.postprocessing.files import read_guinier, write_result
from pycryo.postprocessing.mtf import Mtf
from pycryo.postprocessing.process import PostprocessOptions, postprocess
from pycryo.postprocessing.sharpen import Filter


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    mtf = Mtf(np.array([0, 0.5]), np.array([1, 0.5]), PIXEL)
    result = postprocess(*half_maps(), PostprocessOptions(Filter(mtf=mtf)))
    write_result(folder / "postprocess", result, (Path("h1.mrc"), Path("h2.mrc")))
    return folder, result


def test_star_has_relions_tables(written):
    folder, result = written
    tables = starfile.read(folder / "postprocess.star")
    general, fsc, guinier = (tables[name] for name in ("general", "fsc", "guinier"))
    assert general["rlnFinalResolution"] == pytest.approx(result.resolution, abs=1e-5)
    assert general["rlnBfactorUsedForSharpening"] == pytest.approx(result.b_factor, abs=1e-5)
    assert general["rlnFittedSlopeGuinierPlot"] == pytest.approx(result.b_factor / 4, abs=1e-5)
    assert general["rlnUnfilteredMapHalf1"] == "h1.mrc"
    assert general["rlnMaskName"] == str(folder / "postprocess_mask.mrc")
    assert general["rlnRandomiseFrom"] == pytest.approx(result.fsc.resolution[result.fsc.randomised_from], abs=1e-5)
    # As relion_postprocess writes it: tests/system/test_relion_programs.py.
    assert general["rlnParticleBoxFractionSolventMask"] == pytest.approx(
        0.476 * result.mask.data.size / (result.mask.data > 0.5).sum(), rel=1e-5
    )
    assert len(fsc) == 33
    for label, values in {
        "rlnFourierShellCorrelationUnmaskedMaps": result.fsc.unmasked,
        "rlnFourierShellCorrelationMaskedMaps": result.fsc.masked,
        "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": result.fsc.randomised,
        "rlnFourierShellCorrelationCorrected": result.fsc.corrected,
    }.items():
        np.testing.assert_allclose(fsc[label], values, atol=1e-6)
    for label, values in {
        "rlnLogAmplitudesOriginal": result.guinier.original,
        "rlnLogAmplitudesMTFCorrected": result.guinier.mtf_corrected,
        "rlnLogAmplitudesWeighted": result.guinier.weighted,
        "rlnLogAmplitudesSharpened": result.guinier.sharpened,
    }.items():
        np.testing.assert_allclose(guinier[label], np.nan_to_num(values[1:], nan=-99.0), atol=1e-5)


def test_maps_xml_pictures_and_figures(written):
    folder, result = written
    for name, expected in {
        "postprocess.mrc": result.map.data,
        "postprocess_masked.mrc": result.map.data * result.mask.data,
        "postprocess_mask.mrc": result.mask.data,
    }.items():
        with mrcfile.open(folder / name) as file:
            np.testing.assert_array_equal(file.data, expected)
            assert file.voxel_size.x == pytest.approx(PIXEL)
    points = ET.parse(folder / "postprocess_fsc.xml").getroot().findall("coordinate")
    assert len(points) == 33
    for name in ("postprocess_fsc.png", "postprocess_guinier.png"):
        assert imread(folder / name).shape[:2] == (504, 768)
    told = json.loads((folder / "postprocess.json").read_text("utf-8"))
    assert told["b_factor"] == result.b_factor
    assert told["has_mtf"] is True


def test_plot_is_read_again(written):
    folder, result = written
    plot, b_factor = read_guinier(folder / "postprocess.star")
    assert b_factor == pytest.approx(result.b_factor, abs=1e-5)
    np.testing.assert_allclose(plot.weighted[1:], result.guinier.weighted[1:], atol=1e-5)
    np.testing.assert_allclose(plot.mtf_corrected[1:], result.guinier.mtf_corrected[1:], atol=1e-5)
    assert plot.line.b_factor == pytest.approx(result.b_factor, abs=1e-4)


def test_without_sharpening_mtf_and_pictures(tmp_path):
    first, second, mask = half_maps()
    result = postprocess(first, second, mask, PostprocessOptions(Filter(fit_from=2.5)))
    write_result(tmp_path / "p", result, (Path("1"), Path("2")), Path("m.mrc"), pictures=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "p.json",
        "p.mrc",
        "p.star",
        "p_fsc.xml",
        "p_masked.mrc",
    ]
    plot, b_factor = read_guinier(tmp_path / "p.star")
    assert b_factor is None
    assert plot.line is None
    assert plot.mtf_corrected is None
    assert json.loads((tmp_path / "p.json").read_text("utf-8"))["b_factor"] is None


def test_other_files_are_no_plot(tmp_path):
    (tmp_path / "p.star").write_text("data_general\n\n_rlnFinalResolution 3\n")
    with pytest.raises(InputError, match="data_guinier"):
        read_guinier(tmp_path / "p.star")
