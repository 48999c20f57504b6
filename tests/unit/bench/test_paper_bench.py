"""The paper's figures: cases, schedules and simulator against closed forms, the E-phase's scan against all scores."""

import json
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from schedules import follow_blocks
from thread_comm import run_ranks

from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.kernels.compare import compare_scores
from pycryo.kernels.projector import project_slices
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.conveyor import WAYS, ring

PAPER = Path(__file__).resolve().parents[3] / "bench" / "paper"
sys.path.insert(0, str(PAPER))
import ephase  # noqa: E402
import figures  # noqa: E402
import measure  # noqa: E402
import plots  # noqa: E402
import points  # noqa: E402
import scenarios  # noqa: E402
import simulate  # noqa: E402
import tables  # noqa: E402
from platforms import PLATFORMS  # noqa: E402

SIMGRID = pytest.param("SimGrid", marks=pytest.mark.simgrid)
needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no peak memory of Linux")

# Seconds per slice, bytes per slice, bytes/s, s.
MAKE, COMPARE, ITEM, BANDWIDTH, LATENCY = 3e-3, 1e-3, 1e6, 1e8, 1e-4


def case(way, n_node=4, n_slice=128, **kwargs):
    settings = {"make": [(1, MAKE)], "compare": [(1, COMPARE)], "block": 1000, "grain": 1}
    link = {"platform": "link", "bandwidth": BANDWIDTH, "latency": LATENCY}
    return simulate.Case(way=way, n_node=n_node, n_slice=n_slice, item_bytes=ITEM, **{**settings, **link, **kwargs})


@pytest.mark.parametrize("n, size", [(1, 1), (7, 3), (6, 6), (5, 9), (8, 4)])
def test_rings_are_those_of_the_conveyor(n, size):
    found = [list(ranks) for ranks in simulate.rings(case("conveyor", n, ring_size=size))]
    circles = run_ranks(n, lambda comm: ring(comm, size).all_gather(comm.rank))
    assert [ranks for ranks in found for _ in ranks] == circles
    assert [len(ranks) for ranks in simulate.rings(case("local", n, ring_size=size))] == [1] * n


def test_times_of_blocks_are_linear_between_measured_ones():
    seconds = simulate._seconds([(2, 4.0), (4, 6.0)], 8)
    np.testing.assert_allclose(seconds, [0, 2, 4, 5, 6, 7.5, 9, 10.5, 12])


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("n", [1, 32, 33, 256, 257, 1000])
def test_platforms_have_all_hosts_once(name, n):
    ranges = [node.get("radical") for node in ET.fromstring(PLATFORMS[name].xml(n)).iter("cluster")]
    hosts = [host for a, b in (map(int, text.split("-")) for text in ranges) for host in range(a, b + 1)]
    assert hosts == list(range(len(hosts)))
    assert len(hosts) >= n


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return simulate.build(tmp_path_factory.mktemp("simulator"))


@pytest.fixture(params=["followed", SIMGRID])
def program(request, monkeypatch):
    """The simulator on SimGrid; or None, and its lines are followed without."""
    if request.param == "SimGrid":
        return request.getfixturevalue("built")
    monkeypatch.setattr(simulate, "run", follow_blocks)
    return None


# Message of a ring of 4 with 128 slices.
MESSAGE = LATENCY + 32 * ITEM / BANDWIDTH


@pytest.mark.parametrize(
    "settings, seconds",
    [
        ({"way": "local"}, 128 * (MAKE + COMPARE)),
        ({"way": "conveyor", "bandwidth": 1e15, "latency": 1e-12}, 32 * MAKE + 128 * COMPARE),
        ({"way": "conveyor", "compare": [(1, 0.0)]}, 32 * MAKE + 3 * MESSAGE),
        # A message takes longer than a block, so that it hides all of them but the last.
        ({"way": "conveyor"}, 32 * MAKE + 3 * MESSAGE + 32 * COMPARE),
        ({"way": "conveyor", "overlap": False}, 32 * MAKE + 3 * MESSAGE + 128 * COMPARE),
        ({"way": "conveyor", "step": 0.01, "bandwidth": 1e15}, 32 * MAKE + 128 * COMPARE + 3 * 0.01),
        ({"way": "allgather"}, 32 * MAKE + 3 * MESSAGE + 128 * COMPARE),
        ({"way": "allgather", "n_node": 1}, 128 * (MAKE + COMPARE)),
        ({"way": "conveyor", "ring_size": 1}, 128 * (MAKE + COMPARE)),
        ({"way": "conveyor", "ring_size": 2, "bandwidth": 1e15, "latency": 1e-12}, 64 * MAKE + 128 * COMPARE),
        ({"way": "conveyor", "block": 8, "bandwidth": 1e15, "latency": 1e-12}, 32 * MAKE + 128 * COMPARE),
        ({"way": "conveyor", "n_slice": 0}, 0.0),
        # One slice: its owner makes it, and it passes the other three.
        ({"way": "conveyor", "n_slice": 1, "compare": [(1, 0.0)]}, MAKE + 3 * (LATENCY + ITEM / BANDWIDTH)),
    ],
)
def test_simulated_time_is_the_closed_form(program, settings, seconds):
    found = simulate.simulate(program, case(**settings))
    # SimGrid's clock has steps of 1 ns; a case has some ten events.
    assert found["seconds"] == pytest.approx(seconds, abs=1e-7)


@pytest.mark.parametrize("program", [SIMGRID], indirect=True)
def test_jitter_has_a_seed_and_mean_one(program):
    settings = {"way": "conveyor", "n_node": 32, "n_slice": 3200, "block": 10, "jitter": 0.2}
    first, again, other = (simulate.simulate(program, case(**settings, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    # 320 blocks on each of 32 ranks: the mean of 10 240 factors of deviation 0.2 has a deviation of 0.002.
    assert first["comparing"] == pytest.approx(3200 * COMPARE, rel=0.01)


@pytest.mark.parametrize("name", PLATFORMS)
def test_networks_run_and_bytes_are_counted(program, name):
    settings = {"platform": name, "n_node": 260, "n_slice": 260, "block": 32, "grain": 1, "ring_size": 130}
    found = simulate.simulate(program, case("conveyor", **settings))
    assert found["bytes"] == pytest.approx(129 / 130 * 260 * ITEM)


@pytest.mark.parametrize("program", [SIMGRID], indirect=True)
def test_messages_that_share_links_take_longer(program, monkeypatch):
    cases = [case(way, 260, 2600, platform=name, block=8) for way in ("allgather", "conveyor") for name in PLATFORMS]
    on_links = [simulate.simulate(program, each) for each in cases]
    monkeypatch.setattr(simulate, "run", follow_blocks)
    for each, found in zip(cases, on_links, strict=True):
        alone = simulate.simulate(program, each)
        # SimGrid's clock has steps of 1 ns; a rank sends some thousand messages.
        assert found["seconds"] >= alone["seconds"] - 1e-5
        for name in ("making", "comparing", "bytes"):
            assert found[name] == pytest.approx(alone[name], rel=1e-8)  # 9 digits are printed


def options(**kwargs):
    args = ephase.parse([])
    small = {"images": 5, "slices": 200, "shifts": 5, "box": 16, "r_high": 5.0, "block": 32, "repeat": 1, "threads": 1}
    for name, value in {**small, **kwargs}.items():
        setattr(args, name, value)
    return args


def test_shifts_fill_a_disc():
    assert np.hypot(*ephase.shifts(21).T).max() == pytest.approx(np.sqrt(5))
    assert len(np.unique(ephase.shifts(21), axis=0)) == 21


@needs_proc
def test_scan_finds_the_best_of_all_scores():
    work = ephase.make_work(range(3), box=16, r_high=5.0, n_slice=100, n_shift=5)
    ephase.scan(work, SerialComm(), "local", 32)
    matrices = quaternion_to_matrix(work.rotations)
    slices = project_slices(work.volume, matrices, work.pixels.kx, work.pixels.ky)
    scores = compare_scores(work.panels[0].images, slices).transpose(0, 2, 1).reshape(3, -1)
    assert (work.panels[0].best.index[:, 0] == scores.argmax(axis=1)).all()


@needs_proc
@pytest.mark.parametrize("ring_size", [0, 2])
def test_poses_do_not_depend_on_ways_and_ranks(ring_size):
    alone = ephase.measure(options(), SerialComm())
    ranks = run_ranks(3, lambda comm: ephase.measure(options(ring_size=ring_size), comm))
    assert {run["checksum"] for run in ranks} == {alone["checksum"]}
    ways = ranks[0]["ways"]
    made = {way: [rank["n_made"] for rank in ways[way]["ranks"]] for way in WAYS}
    assert made["local"] == [200] * 3
    assert sum(made["conveyor"]) == sum(made["allgather"]) == (200 if ring_size == 0 else 400)
    assert sum(rank["n_byte"] for rank in ways["conveyor"]["ranks"]) > 0


@needs_proc
def test_other_poses_are_noticed():
    work = ephase.make_work(range(2), box=16, r_high=5.0, n_slice=64, n_shift=1)
    agreement = ephase.Agreement()
    ephase.scan(work, SerialComm(), "local", 32)
    agreement.check(SerialComm(), work, "first")
    work.panels[0].best.index[1, 0] += 1
    with pytest.raises(ephase.RunError, match="second: poses"):
        agreement.check(SerialComm(), work, "second")


def fake_rates(box, images, share):
    return measure.Rates(8 * box, 2, [(256, 256e-5)], [(256, 256e-4 * share)])


def test_points_are_cases_of_the_scenarios():
    maker = scenarios.Maker(fake_rates, 1e-5)
    found = points.all_points(maker)
    assert {point.figure for point in found} == {"fig6", "fig7", "where"}
    serial = {
        (p.panel, p.x): p.case.compare[-1][1] for p in found if p.figure == "fig6" and p.line == "serial" and p.x <= 128
    }
    assert serial["211 826 images", 64] == pytest.approx(256e-4 * 3310)
    assert serial["1/20 of the scores (coarse to fine)", 64] == pytest.approx(256e-4 * 3310 / 20)
    assert serial["scaled: 24 cores, InfiniBand FDR", 128] == pytest.approx(256e-4 * 1655 / 12)


def test_hidden_share_of_messages():
    rank = {"making": 1.0, "comparing": 2.0, "idle": 0.0, "exposed": 0.1, "n_made": 1, "n_message": 10, "n_byte": 100}
    busy = figures.messages({"ranks": [rank, {**rank, "n_byte": 1}]}, {"latency": 0.01, "bandwidth": 1000.0})
    assert busy["alone"] == pytest.approx(0.2)
    assert busy["hidden"] == pytest.approx(0.5)


def test_recorded_results_are_drawn(tmp_path):
    records = list((PAPER / "results").glob("*.json"))
    for path in records:
        shutil.copy(path, tmp_path)
        assert json.loads(path.read_text())["machine"]["processor"]
    plots.draw(tmp_path, tmp_path)
    assert "| 2 | conveyor |" in "\n".join(tables.lines(tmp_path))
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        f"parallel_{name}" for name in ("fig6", "fig7", "fig8", "where")
    }
