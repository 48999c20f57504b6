"""Images made by the meaning of cryoSPARC's poses, not by a formula of ours, give the map back."""

from __future__ import annotations

import mrcfile
import numpy as np
from foreign_files import write_cs
from phantom import apply_ctf, blobs, write_set

from pycryo.cli.main import main
from pycryo.io.mrc_stacks import write_stack

BOX, PIXEL, N = 32, 3.0, 300


def turned(points: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Points (c, 3) turned by minus each rotation vector (n, 3), by many small steps of dp/dt = p × v."""
    found = np.broadcast_to(points, (len(vectors), *points.shape)).copy()
    steps = 4000
    for _ in range(steps):
        middle = found + np.cross(found, vectors[:, None]) / (2 * steps)
        found += np.cross(middle, vectors[:, None]) / steps
    return found


def correlation(path, truth: np.ndarray) -> float:
    return float(np.corrcoef(mrcfile.read(path).ravel(), truth.ravel())[0, 1])


def test_a_refinement_of_cryosparc_is_reconstructed(tmp_path, monkeypatch):
    """The particle is turned by minus the pose's vector and sits at minus the shift, in px of smaller images.

    In the other sense, or with shifts in px of the images, the map is another one.
    """
    monkeypatch.chdir(tmp_path)
    rng, phantom = np.random.default_rng(1), blobs()
    vectors = rng.normal(size=(N, 3))
    vectors *= rng.uniform(0, np.pi, (N, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    shifts, defocus = rng.normal(0, 1, (N, 2)), rng.uniform(6000, 18000, N)
    centres = turned(phantom.centres, vectors)
    line = (np.arange(BOX) - BOX // 2) * PIXEL
    at = centres[:, :, :2] - (1.5 * PIXEL * shifts)[:, None]
    gx, gy = (np.exp(-((line - at[:, :, i, None]) ** 2) / (2 * phantom.widths[:, None] ** 2)) for i in range(2))
    images = np.einsum("c,nci,ncj->nij", phantom.masses / (2 * np.pi * phantom.widths**2), gy, gx)
    write_stack(tmp_path / "a.mrcs", [apply_ctf(images, PIXEL, defocus)], (BOX, BOX), PIXEL)
    single = {
        "ctf__df1_A": defocus,
        "ctf__df2_A": defocus,
        "alignments3D__pose": vectors,
        "alignments3D__shift": shifts,
    }
    write_cs(
        tmp_path / "a.cs",
        N,
        **{name: values.astype(np.float32) for name, values in single.items()},
        blob__path=np.array([b">a.mrcs"] * N),
        blob__shape=np.full((N, 2), BOX, np.uint32),
        blob__psize_A=np.full(N, PIXEL, np.float32),
        alignments3D__psize_A=np.full(N, 1.5 * PIXEL, np.float32),
        ctf__df_angle_rad=np.zeros(N, np.float32),
    )
    assert main(["reconstruct", "a.cs", "--out", "map.mrc", "--threads", "1"]) == 0
    truth = phantom.volume(BOX, PIXEL)
    assert correlation("map.mrc", truth) > 0.995
    assert correlation("map.mrc", truth[::-1, ::-1, ::-1]) < 0.9


def test_particles_that_went_through_cryosparcs_file_make_the_same_map(tmp_path, monkeypatch):
    """Poses are single numbers there."""
    monkeypatch.chdir(tmp_path)
    star = write_set(tmp_path, blobs(), 60)
    assert main(["export", str(star), "--cs", "p.cs"]) == 0
    assert main(["import", "p.cs", "--out", "again.star"]) == 0
    for name in (str(star), "p.cs", "again.star"):
        assert main(["reconstruct", name, "--out", f"{name.split('.')[-2][-3:]}.mrc", "--threads", "1"]) == 0
    first, *others = sorted(tmp_path.glob("*.mrc"))
    assert len(others) == 2
    truth = mrcfile.read(first)
    for other in others:
        assert np.abs(mrcfile.read(other) - truth).max() < 1e-3 * np.abs(truth).max()
