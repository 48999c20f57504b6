"""The list of results for RELION's pipeline, in the words of each version."""

import pytest
import starfile

from pycryo.refinement.files.output_nodes import NODES_NAME, write_output_nodes

FILES = ("run_data.star", "run_class001.mrc", "run_half1_class001_unfil.mrc", "run_mask.mrc")
MORE = ("run_class002.mrc", "run_half1_class002_unfil.mrc", "run_mask_class002.mrc")
# Tables of nodes as RELION's default_pipeline.star has them.
PIPELINES = {
    None: ("rlnPipeLineNodeTypeLabel", "ParticleGroupMetadata.star.relion.refine3d"),
    "_rlnPipeLineNodeTypeLabel #2\nExtract/job1/particles.star ParticleGroupMetadata.star.relion 1\n": (
        "rlnPipeLineNodeTypeLabel",
        "ParticleGroupMetadata.star.relion.refine3d",
    ),
    "_rlnPipeLineNodeTypeLabel #2\nExtract/job1/particles.star ParticlesData.star.relion\n": (
        "rlnPipeLineNodeTypeLabel",
        "ParticlesData.star.relion.refine3d",
    ),
    "_rlnPipeLineNodeName #1\n_rlnPipeLineNodeType #2\nExtract/job1/particles.star 3\n": ("rlnPipeLineNodeType", 3),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "External" / "job007"
    folder.mkdir(parents=True)
    for name in (*FILES, *MORE):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("pipeline, expected", PIPELINES.items())
def test_words_of_each_version(folder, tmp_path, pipeline, expected):
    if pipeline is not None:
        (tmp_path / "default_pipeline.star").write_text(pipeline)
    write_output_nodes(folder.relative_to(tmp_path), 1)
    assert "data_output_nodes" in (folder / NODES_NAME).read_text()
    table = starfile.read(folder / NODES_NAME)
    assert table["rlnPipeLineNodeName"].tolist() == [f"External/job007/{name}" for name in FILES]
    assert list(table.columns) == ["rlnPipeLineNodeName", expected[0]]
    assert table[expected[0]][0] == expected[1]
    if expected[1] == 3:
        assert table[expected[0]].tolist() == [3, 6, 10, 7]
    else:
        assert table[expected[0]].tolist()[1:] == [
            "DensityMap.mrc.relion.refine3d",
            "DensityMap.mrc.relion.halfmap.refine3d",
            "Mask3D.mrc.relion",
        ]


def test_only_what_is_there_of_all_classes(folder):
    (folder / "run_mask_class002.mrc").unlink()
    write_output_nodes(folder, 2)
    names = starfile.read(folder / NODES_NAME)["rlnPipeLineNodeName"].tolist()
    assert names == [f"External/job007/{name}" for name in (*FILES, *MORE[:2])]


def test_outside_of_the_project(folder, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    write_output_nodes(folder, 1)
    assert starfile.read(folder / NODES_NAME)["rlnPipeLineNodeName"][0] == str(folder / FILES[0])
