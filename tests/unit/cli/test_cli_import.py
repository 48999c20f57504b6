"""`pycryo import` and `pycryo export`: files, what is told, and errors."""

import numpy as np
import pytest
import starfile
from foreign_files import PAR_8, cs_columns, save_cs, structured, write_cs
from particle_files import star_31

from pycryo.cli.main import main
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import read_particles


@pytest.fixture
def project(tmp_path):
    """A project of cryoSPARC: a job with images, and one with poses, whose passthrough file has the names of them."""
    (tmp_path / "P1" / "J3" / "extract").mkdir(parents=True)
    (tmp_path / "P1" / "J7").mkdir()
    images = [np.random.default_rng(1).normal(size=(4, 8, 8))]
    write_stack(tmp_path / "P1" / "J3" / "extract" / "a.mrcs", images, (8, 8), 1.5)
    columns = cs_columns(4)
    for name, prefix in (("particles", ("alignments", "ctf")), ("passthrough", ("blob", "ctf"))):
        part = {key: values for key, values in columns.items() if key == "uid" or key.startswith(prefix)}
        save_cs(tmp_path / "P1" / "J7" / f"{name}.cs", structured(part))
    return tmp_path / "P1"


def test_import_and_export(project, tmp_path, caplog, monkeypatch):
    """The STAR file is read from anywhere, and the .cs file of it holds the same."""
    caplog.set_level("INFO")
    job = project / "J7"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = [str(job / "particles.cs"), str(job / "passthrough.cs")]
    assert main(["import", *words, "--out", "p.star"]) == 0
    text = caplog.text
    assert "p.star: 4 particles in 1 optics group(s)" in text
    assert f"the image names begin in {project}" in text
    assert {name: len(table) for name, table in starfile.read("p.star").items()} == {"optics": 1, "particles": 4}
    found = read_particles("p.star")
    assert found.stacks == (project / "J3" / "extract" / "a.mrcs",)
    assert main(["export", "p.star", "--cs", "p.cs", "--project-dir", str(project)]) == 0
    assert "p.cs: 4 particles; cryoSPARC imports p.csg" in caplog.text
    again = read_particles("p.cs", particles_dir=project)
    np.testing.assert_allclose(again.defocus_u, found.defocus_u)
    np.testing.assert_allclose(again.origin_x, found.origin_x, rtol=1e-6)
    np.testing.assert_array_equal(again.random_subset, found.random_subset)


def test_wrong_units_are_not_exported(project, tmp_path, capfd):
    """cryoSPARC would take them as they are."""
    path = write_cs(tmp_path / "a.cs", **{f"ctf__df{k}_A": np.full(4, 1.5, np.float32) for k in (1, 2)})
    star = tmp_path / "p.star"
    assert main(["import", str(path), "--out", str(star), "--project-dir", str(project)]) == 0
    assert main(["export", str(star), "--cs", str(tmp_path / "out.cs"), "--particles-dir", str(project)]) == 2
    assert "they seem to be in micrometres" in capfd.readouterr().err
    assert not (tmp_path / "out.cs").exists()


def test_the_project_can_be_named(project, tmp_path):
    path = write_cs(tmp_path / "alone.cs")
    assert main(["import", str(path), "--out", str(tmp_path / "p.star"), "--project-dir", str(project)]) == 0
    assert read_particles(tmp_path / "p.star").stacks == (project / "J3" / "extract" / "a.mrcs",)


def test_a_stack_that_is_not_there_is_told(tmp_path, caplog):
    caplog.set_level("INFO")
    path = write_cs(tmp_path / "alone.cs", blob__path=np.array([b"gone.mrc"] * 4), blob__sign=-np.ones(4, np.float32))
    assert main(["import", str(path), "--out", str(tmp_path / "p.star")]) == 0
    for words in (
        "the stack of the first particle was not found",
        "--invert-contrast",
        "RELION takes .mrc for volumes",
    ):
        assert words in caplog.text
    assert read_particles(tmp_path / "p.star", validate=False).n == 4


def test_links_for_relion(tmp_path, capfd, monkeypatch):
    """RELION reads stacks by the suffix .mrcs, from the folder where it is started."""
    monkeypatch.chdir(tmp_path)
    for folder in ("P1/J3", "P1/J3_a"):
        (tmp_path / folder).mkdir(parents=True)
    images = [np.random.default_rng(1).normal(size=(2, 8, 8))]
    for name in ("P1/J3/a_b.mrc", "P1/J3_a/b.mrc"):
        write_stack(tmp_path / name, images, (8, 8), 1.5)
    names = np.array([b">J3/a_b.mrc", b"J3/a_b.mrc", b"J3_a/b.mrc", b"J3_a/b.mrc"])
    path = write_cs(tmp_path / "a.cs", blob__path=names, blob__idx=np.array([0, 1, 0, 1], np.uint32))
    words = ["import", str(path), "--out", "p.star", "--links", "links"]
    assert main(words) == 2
    assert "there is no file 'J3/a_b.mrc' to be linked" in capfd.readouterr().err
    for _ in range(2):  # links that are there already stay
        assert main([*words, "--project-dir", "P1"]) == 0
    found = read_particles("p.star")
    assert [str(each) for each in found.stacks] == ["links/J3_a_b.mrcs", "links/J3_a_b_.mrcs"]
    assert (tmp_path / "links" / "J3_a_b_.mrcs").resolve() == tmp_path / "P1" / "J3_a" / "b.mrc"
    (tmp_path / "links" / "J3_a_b.mrcs").unlink()
    (tmp_path / "links" / "J3_a_b.mrcs").write_text("mine")
    assert main([*words, "--project-dir", "P1"]) == 2
    assert "a file has this name" in capfd.readouterr().err


def test_what_a_par_file_lacks(tmp_path, capfd, caplog):
    write_stack(tmp_path / "s.mrcs", [np.random.default_rng(1).normal(size=(3, 8, 8))], (8, 8), 1.5)
    (tmp_path / "a.par").write_text(PAR_8)
    words = ["import", str(tmp_path / "a.par"), "--out", str(tmp_path / "p.star")]
    assert main(words) == 2
    assert "give it by --stack" in capfd.readouterr().err
    more = ["--pixel-size", "1.5", "--voltage", "300", "--cs", "2.7", "--amplitude-contrast", "0.1"]
    assert main([*words, "--stack", "none.mrcs", *more]) == 0
    assert "does not tell the box of the images" in caplog.text
    assert main([*words, "--stack", "s.mrcs", *more]) == 0
    particles = read_particles(tmp_path / "p.star")
    assert particles.has_ctf
    assert particles.origin_x.tolist() == [-1.5, 0.75]
    optics = starfile.read(tmp_path / "p.star")["optics"]
    assert optics["rlnImageSize"].tolist() == [8]


@pytest.mark.parametrize(
    "words, text",
    [
        (["import", "none.cs", "--out", "p.star"], "none.cs"),
        (["import", "in.star", "--out", "p.star"], "need no import"),
        (["import", "a.cs", "--out", "a.cs"], "a.cs is read, and would be overwritten"),
        (["import", "a.cs", "--out", "no/p.star"], "folder does not exist"),
        (["export", "in.star", "--cs", "no/p.cs"], "folder does not exist"),
        (["export", "in.star", "--cs", "p.cs", "--ignore-optics", "x"], "--ignore-optics does not know x"),
        (["export", "none.star", "--cs", "p.cs"], "cannot read none.star"),
    ],
)
def test_errors(words, text, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    star_31(tmp_path)
    write_cs(tmp_path / "a.cs")
    before = sorted(tmp_path.iterdir())
    assert main(words) == 2
    assert text in capfd.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["select", "subset", "flip"])
def test_commands_on_rows_send_cryosparcs_files_to_the_import(project, tmp_path, command, capsys):
    words = {"select": ["--class", "1"], "subset": ["--n", "2"], "flip": []}[command]
    source = str(project / "J7" / "particles.cs")
    assert main([command, source, *words, "--out", str(tmp_path / "out.star")]) == 2
    assert f"make it a STAR file: pycryo import {source} --out particles.star" in capsys.readouterr().err
