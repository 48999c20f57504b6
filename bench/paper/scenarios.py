"""The cases of the figures: data sets, nodes and networks, at rates that were measured on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from measure import Rates
from platforms import PLATFORMS
from simulate import Case

from pycryo.kernels.compare import CELL_SLICES
from pycryo.parallel.conveyor import Link, Way
from pycryo.refinement.expectation.slice_sharing import Choice, choose_way
from pycryo.refinement.expectation.slice_sharing import Rates as WayRates

# The paper's data set (§IV), its number of slices as in THUNDER's first iterations, a disc of shifts.
N_IMAGE, N_SLICE, N_SHIFT, BOX = 211_826, 20_000, 21, 256
NODES = (64, 128, 256, 512, 1024, 2048)
BOXES = (64, 128, 160, 256, 384, 512)


def r_high(box: int) -> float:
    """Resolution of the global search, Fourier px: a quarter of Nyquist."""
    return box / 8


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the nodes do, and what they are.

    Attributes
    ----------
    title : str
    n_image : int
        Of all nodes.
    score_share : float
        Part of the scores that is computed.
    speed : float
        Of a node, relative to this machine.
    platform : str
        A name of `platforms.PLATFORMS`.
    """

    title: str
    n_image: int = N_IMAGE
    score_share: float = 1.0
    speed: float = 1.0
    platform: str = "taihulight"

    def images(self, n_node: int) -> int:
        """Images of the fullest node."""
        return -(-self.n_image // n_node)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes cases from measured rates.

    Attributes
    ----------
    rates : callable
        (box, images of a node, share of the scores) -> Rates of this machine.
    step : float
        Seconds that a rank spends to begin and end a transfer.
    """

    rates: Callable[[int, int, float], Rates]
    step: float

    def choice(self, scenario: Scenario, n_node: int, box: int, ring_size: int = 0, way: Way | None = None) -> Choice:
        """What refine's cost model says."""
        images, share = scenario.images(n_node), scenario.score_share
        known = self.rates(box, images, share)
        make, compare = known.per_pixel()
        speed, rows = scenario.speed, N_SHIFT * share
        network = PLATFORMS[scenario.platform]
        link = Link(self.step + network.latency, network.bandwidth)
        rates = WayRates(make[0] / speed, compare[0] / rows / speed, link, make[1] / speed, compare[1] / rows / speed)
        n_score = images * N_SHIFT * N_SLICE * share
        return choose_way(n_node, N_SLICE, known.n_pixel, n_score, rates, way=way, ring_size=ring_size or None)

    def case(
        self,
        scenario: Scenario,
        way: str,
        n_node: int,
        *,
        box: int = BOX,
        ring_size: int = 0,
        make_factor: float = 1.0,
        jitter: float = 0.0,
        overlap: bool = True,
    ) -> Case:
        """One simulation; `make_factor` makes sampling dearer than it is here, for the others see `Case`."""
        images = scenario.images(n_node)
        known = self.rates(box, images, scenario.score_share)
        return Case(
            way=way,
            n_node=n_node,
            n_slice=N_SLICE,
            item_bytes=8.0 * known.n_pixel,
            make=[(n, seconds * make_factor / scenario.speed) for n, seconds in known.make],
            compare=[(n, seconds * images / scenario.speed) for n, seconds in known.compare],
            platform=scenario.platform,
            ring_size=ring_size,
            block=self.choice(scenario, n_node, box, ring_size, "conveyor" if n_node > 1 else None).block,
            grain=CELL_SLICES,
            step=self.step,
            overlap=overlap,
            jitter=jitter,
        )


PAPER = Scenario("211 826 images")
SPARSE = Scenario("1/20 of the scores (coarse to fine)", score_share=1 / 20)
FEW = Scenario("10 000 images", n_image=10_000)
SCALED = Scenario("scaled: 24 cores, InfiniBand FDR", speed=12.0, platform="fdr")
SCENARIOS = (PAPER, SPARSE, FEW, SCALED)
