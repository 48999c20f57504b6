"""A developer's walk with `import pycryo` alone: particles in memory, maps, masks, FSC; what is wrong is said."""

import contextlib
import dataclasses
import warnings

import numpy as np
import pytest
from phantom import blobs
from scipy.spatial.transform import Rotation

import pycryo
from pycryo.cli.main import main
from pycryo.parallel.world import as_comm


@pytest.fixture(scope="module")
def truth():
    return pycryo.Map(blobs().volume(32, 3.0), 3.0)


@pytest.fixture(scope="module")
def particles(truth):
    return pycryo.simulate(truth, n=200, snr=0.5, seed=3, shift_sd=1.0)


def test_maps_from_anything(truth):
    whole = pycryo.Map(np.arange(8).reshape(2, 2, 2).tolist(), 2)
    assert whole.data.dtype == np.float32
    assert repr(whole) == "Map(2 px, 2 Å/px, density 0 to 7, mean 3.5)"
    assert "\n" not in repr(truth)
    for bad, words in (
        (("abc", 1.0), "data: expected an array of numbers, got str 'abc'"),
        ((np.zeros((2, 2)), 1.0), "a map must be a cube"),
        ((np.zeros((2, 2, 2)), "2 Å"), "pixel_size: expected a positive number of Å, got str '2 Å'"),
        ((np.zeros((2, 2, 2)), 0), "pixel_size: expected a positive number of Å, got 0"),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            pycryo.Map(*bad)


def test_maps_are_written_and_read(truth, tmp_path):
    pycryo.write_map(tmp_path / "a.mrc", truth)
    pycryo.write_map(tmp_path / "b.mrc", truth.data.astype(np.float64), 3.0)
    for name in ("a.mrc", "b.mrc"):
        found = pycryo.read_map(tmp_path / name)
        np.testing.assert_array_equal(found.data, truth.data)
        assert found.pixel_size == pytest.approx(3.0)
    with pytest.raises(pycryo.InputError, match=r"data: expected Map \(or an array, and its pixel_size\)"):
        pycryo.write_map(tmp_path / "c.mrc", truth.data)


def test_masks_filters_and_fsc(truth):
    soft = pycryo.mask(truth, resolution=12)
    assert isinstance(soft, pycryo.Map)
    np.testing.assert_array_equal(soft.data, pycryo.mask(truth.data, 3.0, resolution=12).data)
    noisy = [truth.data + np.random.default_rng(seed).normal(0, 0.1, truth.data.shape) for seed in (1, 2)]
    curves = pycryo.corrected_fsc(*noisy, pixel_size=3.0, mask=soft)
    np.testing.assert_allclose(curves.unmasked, pycryo.fsc(*noisy))
    assert pycryo.corrected_fsc(truth, noisy[0]).pixel_size == 3.0
    assert pycryo.low_pass(truth, 20).pixel_size == 3.0
    assert pycryo.resample(truth, 16, 6).box == 16
    for call, words in (
        (lambda: pycryo.low_pass(truth.data, 20), "source: expected a Map"),
        (lambda: pycryo.mask(truth, edge=3), "mask has no argument edge: use resolution"),
        (lambda: pycryo.corrected_fsc(*noisy), "half1: expected a Map, or an array and its pixel_size"),
        (lambda: pycryo.fsc(noisy[0], noisy[1][:, :, 1:]), "the FSC needs two cubes of one size"),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            call()


def test_half_maps_whose_headers_were_rounded_are_a_pair(truth):
    """Their pixel sizes differ by less than 1e-3."""
    noise = np.random.default_rng(5).standard_normal(truth.data.shape, np.float32)
    first, second = (pycryo.Map(truth.data + sign * 0.1 * noise, 3.0 + sign * 1e-6) for sign in (1, -1))
    found = pycryo.localres(first, second, truth.data > 0.1 * truth.data.max(), window=40.0, step=20.0)
    assert found.resolution.pixel_size == first.pixel_size
    with pytest.raises(pycryo.InputError, match="differ in box or pixel size"):
        pycryo.localres(first, pycryo.Map(second.data, 3.1))
    with pytest.raises(pycryo.InputError, match="mask"):
        pycryo.localres(first, second, 255 * (truth.data > 0))


def test_angles_there_and_back():
    angles = np.array([[10.0, 20.0, 30.0], [-100.0, 90.0, 170.0]])
    matrices = pycryo.euler_to_matrix(*angles.T)
    np.testing.assert_allclose(np.stack(pycryo.matrix_to_euler(matrices), axis=1), angles)
    np.testing.assert_allclose(np.stack(pycryo.matrix_to_euler(Rotation.from_matrix(matrices)), axis=1), angles)
    assert pycryo.euler_to_matrix(0, 0, 0).shape == (1, 3, 3)
    for call, words in (
        (lambda: pycryo.euler_to_matrix(np.nan, 0, 0), "rot: expected finite"),
        (lambda: pycryo.matrix_to_euler(2 * np.eye(3)), "matrix: expected rotations"),
        (lambda: pycryo.symmetry("Q7"), "symmetry 'Q7' is unknown"),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            call()


def test_particles_in_few_words(particles):
    words = repr(particles)
    assert "\n" not in words
    assert len(words) < 200
    assert "200 of particles in memory: 32 px, 3 Å/px" in words
    assert "CTF and poses" in words
    assert "<table" in particles._repr_html_()
    assert list(particles[:3].frame()["rlnImageName"]) == [f"{i:06d}@images.mrcs" for i in (1, 2, 3)]


def test_particles_by_slice_index_and_mask(particles):
    np.testing.assert_array_equal(particles[10:20].defocus_u, particles.defocus_u[10:20])
    np.testing.assert_array_equal(particles[[5, 3]].rot, particles.rot[[5, 3]])
    np.testing.assert_array_equal(
        particles[particles.random_subset == 1].tilt, particles.tilt[particles.random_subset == 1]
    )
    assert len(particles[-1]) == 1
    with pytest.raises(IndexError):
        particles[200]


def test_images_of_particles(particles):
    every = particles.images()
    assert every.shape == (200, 32, 32)
    np.testing.assert_array_equal(np.concatenate(list(particles.images(64))), every)
    np.testing.assert_array_equal(pycryo.read_images(particles, [7, 2]), every[[7, 2]])
    for call, words in (
        (lambda: particles.images(0), "batch: expected at least 1"),
        (lambda: pycryo.read_images(particles, [200]), "rows: expected numbers below 200"),
        (lambda: pycryo.read_images(particles, max_bytes=1000), "give fewer rows, or more as max_bytes"),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            call()


def test_particles_in_memory_are_those_of_their_files(particles, tmp_path):
    """Written once, with their images beside them; read again they make the same map."""
    pycryo.write_particles(tmp_path / "set.star", particles)
    stamp = (tmp_path / "images.mrcs").stat().st_mtime_ns
    pycryo.write_particles(tmp_path / "again.star", particles[:10], {"rlnAnglePsi": np.zeros(10)})
    assert (tmp_path / "images.mrcs").stat().st_mtime_ns == stamp
    found = pycryo.read_particles(tmp_path / "set.star")
    np.testing.assert_array_equal(found.images(), particles.images())
    np.testing.assert_array_equal(pycryo.read_images(tmp_path / "images.mrcs", [4]), particles[4].images())
    for name in ("rot", "tilt", "psi", "origin_x", "origin_y", "defocus_u", "defocus_v", "defocus_angle"):
        np.testing.assert_allclose(getattr(found, name), getattr(particles, name), atol=2e-6, rtol=1e-7)
    np.testing.assert_array_equal(found.random_subset, particles.random_subset)
    assert len(pycryo.read_particles(tmp_path / "again.star")) == 10
    maps = [pycryo.reconstruct(each).map.data for each in (found, particles)]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-4 * np.abs(maps[1]).max())


def test_a_map_from_arrays(particles, truth):
    again = pycryo.Particles.from_arrays(
        particles.images().astype(np.float64),
        3,
        poses=Rotation.from_matrix(pycryo.euler_to_matrix(particles.rot, particles.tilt, particles.psi)),
        origins=np.stack([particles.origin_x, particles.origin_y], axis=1).tolist(),
        voltage=300,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
        defocus_u=particles.defocus_u,
        defocus_v=particles.defocus_v,
        defocus_angle=particles.defocus_angle,
    )
    found = pycryo.reconstruct(again).map
    curve = pycryo.fsc(found, truth)
    assert curve[8] > 0.9
    without = pycryo.Particles.from_arrays(particles.images(), 3.0, poses=np.zeros((200, 3)))
    assert without.missing_ctf[0] == "rlnDefocusU"
    assert "poses)" in repr(without)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": np.zeros((3, 4, 5))}, r"images: expected \(n, N, N\), n and N at least 1, got \(3, 4, 5\)"),
        ({"images": np.zeros((0, 4, 4))}, "images: expected"),
        ({"pixel_size": -1}, "pixel_size: expected a number from 0.001 to 1000, got -1"),
        ({"voltage": "300"}, "voltage: expected a positive number of kV, got str '300'"),
        ({"defocus": 1e4}, "from_arrays has no argument defocus: use"),
        ({"defocus_u": [1, 2]}, r"defocus_u: expected a number or shape \(3,\), got \(2,\)"),
        ({"defocus_u": np.nan}, "defocus_u: expected finite numbers only"),
        ({"poses": np.full((3, 3), np.inf)}, "poses: expected finite"),
        ({"poses": np.zeros((3, 3, 3))}, "poses: expected rotations"),
        ({"poses": Rotation.random(2, random_state=1)}, "poses: expected 3, one for each image, got 2"),
        ({"origins": np.zeros(3)}, r"origins: expected shape \(3, 2\), got \(3,\)"),
        ({"random_subset": [0, 1, 3]}, "random_subset: expected 0 to 2, got 0 to 3"),
        ({"amplitude_contrast": 10}, "amplitude_contrast: expected a number from -1 to 1, got 10"),
    ],
)
def test_wrong_arrays_are_named(change, words):
    given = {"images": np.random.default_rng(1).normal(size=(3, 4, 4)), "pixel_size": 2.0} | change
    with pytest.raises(pycryo.InputError, match=words):
        pycryo.Particles.from_arrays(**given)


def test_options_are_not_ignored(particles, truth, tmp_path):
    start = pycryo.low_pass(truth, 30)
    with pytest.raises(pycryo.InputError, match="nowhere"):
        pycryo.refine(particles, start, pycryo.RefineOptions(mask=str(tmp_path / "nowhere.mrc")))
    tilted = pycryo.simulate(truth, n=20, beam_tilt="0.5,0")
    assert tilted.optics.kinds == {"beam-tilt"}
    with pytest.raises(pycryo.InputError, match="give ignore_optics to read_particles"):
        pycryo.refine(tilted, start, pycryo.RefineOptions(ignore_optics="beam-tilt"))
    with pytest.raises(pycryo.InputError, match="simulate has no option snrs"):
        pycryo.simulate(truth, snrs=1)


def test_a_mask_by_its_file_is_the_mask(particles, truth, tmp_path):
    soft = pycryo.mask(truth)
    pycryo.write_map(tmp_path / "mask.mrc", soft)
    start, options = pycryo.low_pass(truth, 30), pycryo.RefineOptions(max_iter=2)
    given = pycryo.refine(particles[:60], start, options, mask=soft)
    named = pycryo.refine(particles[:60], start, dataclasses.replace(options, mask=str(tmp_path / "mask.mrc")))
    np.testing.assert_array_equal(named.map.data, given.map.data)


def test_a_result_ends_in_the_files_of_the_command(particles, truth, tmp_path, monkeypatch):
    start = pycryo.low_pass(truth, 30)
    result = pycryo.refine(particles[:80], start, pycryo.RefineOptions(max_iter=1, keep_iterations="none"))
    result.write(tmp_path / "run")
    pycryo.write_particles(tmp_path / "set.star", particles[:80])
    pycryo.write_map(tmp_path / "start.mrc", start)
    words = ["refine", tmp_path / "set.star", "--ref", tmp_path / "start.mrc", "--out", tmp_path / "command"]
    assert main([*map(str, words), "--max-iter", "1", "--keep-iterations", "none", "--quiet"]) == 0
    made, wanted = ({each.name for each in (tmp_path / name).iterdir()} for name in ("run", "command"))
    assert made == (wanted - {"run.log"}) | {"images.mrcs"}
    for name in ("run_class001.mrc", "run_half1_class001_unfil.mrc"):
        one, other = (pycryo.read_map(tmp_path / folder / name).data for folder in ("run", "command"))
        # The STAR file has defoci and origins to six decimals: now and then another pose is drawn for an image.
        np.testing.assert_allclose(one, other, atol=1e-2 * np.abs(other).max())
    found = pycryo.read_particles(tmp_path / "run" / "run_data.star")
    for name in ("rot", "tilt", "psi", "origin_x", "origin_y", "random_subset", "class_number"):
        np.testing.assert_allclose(getattr(found, name), getattr(result.particles, name), atol=1e-5)
    again = pycryo.reconstruct(result.particles)
    assert pycryo.fsc(again.map, result.map)[5] > 0.9
    with pytest.raises(pycryo.InputError, match="holds a finished run"):
        result.write(tmp_path / "run")
    monkeypatch.setattr("pycryo.refinement.result.closing.report", lambda folder: None)  # once is enough
    result.write(tmp_path / "run", overwrite=True)


def test_an_observer_sees_maps_and_ends_the_run(particles, truth, caplog):
    caplog.set_level("INFO")
    seen = []

    def observer(setup, outcome, history):
        seen.append(pycryo.half_maps(setup, outcome))
        return len(history) >= 2

    options = pycryo.RefineOptions(max_iter=20)
    result = pycryo.refine(particles[:80], pycryo.low_pass(truth, 30), options, observer=observer)
    assert [record.stage == "final" for record in result.history] == [False, False, False, True]
    assert caplog.text.count("the observer ends the run") == 1
    assert [(each[0].box, each[0].pixel_size) for each in seen] == [(32, 3.0)] * 4
    np.testing.assert_array_equal(seen[-1][0].data, result.half_maps[0].data)


def test_many_processes_that_do_the_same_are_told(monkeypatch):
    monkeypatch.setattr("pycryo.parallel.world.launched_size", lambda: 4)
    with pytest.warns(UserWarning, match="mpiexec started 4 processes, and each of them does all the work"):
        as_comm(None)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_comm(None)
    with pytest.raises(pycryo.InputError, match="comm: expected a communicator of mpi4py, got str"):
        as_comm("world")


def test_kernels_by_their_names():
    assert pycryo.kernels.shift.__name__ == "shift"
    assert callable(pycryo.kernels.ctf)
    assert callable(pycryo.kernels.insert)
    assert callable(pycryo.filter.resample)


def test_projection_and_insertion_are_adjoint(rng):
    """⟨P V, X⟩ = ⟨V, Pᵀ X⟩ for any volume V and any samples X, on dense arrays."""
    kernels = pycryo.kernels
    box, n = 16, 5
    pixels = kernels.half_plane(box, 6)
    rotations = Rotation.random(n, random_state=1).as_matrix()
    sums = kernels.new_accumulators(box, r_high=6)
    samples = rng.normal(size=(n, 2, len(pixels))).astype(np.float32)
    entries = kernels.Entries(
        samples, np.ones((n, len(pixels))), np.arange(n), rotations, np.zeros((n, 2)), np.ones(n), pixels.kx, pixels.ky
    )
    kernels.insert(sums, entries)
    inserted, weight = sums.to_dense()
    volume = (rng.normal(size=inserted.shape) + 1j * rng.normal(size=inserted.shape)).astype(np.complex64)
    volume[13, 13, 0] = 1  # the mean of a map is real, and its sign at q = -0 counts for nothing
    data = np.ascontiguousarray(volume).view(np.float32).reshape(*volume.shape, 2)
    slices = kernels.project_slices(kernels.FourierVolume(data, box, 2, 6.0), rotations, pixels.kx, pixels.ky)
    left = np.sum(slices.astype(np.float64) * samples)
    right = np.sum(volume.real * inserted.real + volume.imag * inserted.imag)
    # Float32 slices and positions: 1e-7 of the sum of magnitudes, about 30 times the sum.
    assert left == pytest.approx(right, abs=3e-6 * float(np.sum(np.abs(slices * samples))))
    assert weight.sum() == pytest.approx(n * len(pixels), rel=1e-6)


def test_a_walk_with_one_import(tmp_path, monkeypatch):
    """Read, project, CTF, reconstruct, FSC, mask, refine with an observer, write: no module of pycryo is named."""
    monkeypatch.chdir(tmp_path)
    reference = pycryo.resample(pycryo.read_map(pycryo.betagal() / "reference_40A.mrc"), 32, 10.0)
    pycryo.write_particles("set.star", pycryo.simulate(reference, n=60, snr=0.5, shift_sd=0.5, seed=2))
    particles = pycryo.read_particles("set.star")

    turns = pycryo.euler_to_matrix(particles.rot, particles.tilt, particles.psi)
    origins = np.stack([particles.origin_x, particles.origin_y], axis=1) / reference.pixel_size
    pixels = pycryo.kernels.half_plane(32, 16)
    samples = pixels.from_images(pycryo.project(reference, turns, shifts=origins))
    made = pixels.to_images(samples * pycryo.ctf_of(particles, pixels)[:, None])
    measured = particles.images()
    # Signal and noise: the correlation is √(SNR / (1 + SNR)) = 0.58, the scatter of one of 1024 pixels 0.03.
    assert np.median([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(made, measured, strict=True)]) > 0.5

    found = pycryo.reconstruct(particles, half_maps=True, symmetry="D2")
    soft = pycryo.mask(found.map, resolution=40)
    curves = pycryo.corrected_fsc(*found.half_maps, mask=soft)
    assert curves.resolution_0143 < 45
    assert pycryo.fsc(found.map, reference)[5] > 0.9

    seen = []

    def observer(setup, outcome, history):
        first, second = pycryo.half_maps(setup, outcome)
        seen.append((first.data + second.data, outcome.classes[0].fsc.frame(), history[-1].resolution))
        return len(seen) == 1

    options = pycryo.RefineOptions(symmetry="D2", max_iter=9)
    result = pycryo.refine(particles, found.map, options, mask=soft, observer=observer)
    assert len(seen) == len(result.history) == 3
    assert seen[-1][2] == result.resolution
    np.testing.assert_array_equal(seen[-1][1]["unmasked"], result.fsc.unmasked)
    pycryo.write_map("map.mrc", pycryo.low_pass(result.map, 30))
    pycryo.write_particles("found.star", result.particles)
    assert pycryo.read_map("map.mrc").box == 32
    assert pycryo.read_particles("found.star").has_poses


def test_a_mask_that_is_not_there_is_told(particles, truth):
    with pytest.raises(pycryo.InputError, match="/does/not/exist"):
        pycryo.refine(particles, truth, pycryo.RefineOptions(mask="/does/not/exist"))


def test_each_call_without_comm_under_mpiexec_warns(particles, truth, monkeypatch):
    """Once, and it points at the line of the script."""
    monkeypatch.setattr("pycryo.parallel.world.launched_size", lambda: 2)

    def call(function, *arguments):
        with contextlib.suppress(pycryo.InputError):
            function(*arguments)

    for function, arguments in (
        (pycryo.reconstruct, (particles[:10],)),
        (pycryo.refine, (particles, None)),
        (pycryo.abinitio, (particles[:1],)),
    ):
        with pytest.warns(UserWarning, match="each of them does all the work: give comm=MPI.COMM_WORLD") as told:
            call(function, *arguments)
        assert [each.filename for each in told] == [__file__]
