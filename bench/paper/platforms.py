"""Machines to simulate, as SimGrid's XML: networks from published figures, and this machine from its measured link.

Latencies are those of MPI between neighbours, so half of one stands on each of the two links between them. SimGrid
shares the bandwidth of a link fairly among the messages on it; what it knows of TCP is switched off (`OPTIONS`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# The network does what the XML says: no factors fitted to TCP, no loss of a link to messages the other way.
OPTIONS = (
    "--cfg=network/model:CM02",
    "--cfg=network/bandwidth-factor:1",
    "--cfg=network/latency-factor:1",
    "--cfg=network/weight-S:0",
    "--cfg=network/TCP-gamma:0",
    "--cfg=network/crosstraffic:no",
    "--cfg=contexts/stack-size:32",
    "--log=root.thresh:error",
)

_HEAD = (
    '<?xml version="1.0"?>\n<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">\n<platform version="4.1">\n'
)


@dataclass(frozen=True, slots=True)
class Platform:
    """A network.

    Attributes
    ----------
    title, source : str
        Name in the figures; where its figures come from.
    bandwidth, latency : float
        Between two neighbours: bytes/s, s.
    layout : callable
        (n_node, bandwidth, latency) -> text of SimGrid's platform file with hosts n0, n1, ...
    """

    title: str
    source: str
    bandwidth: float
    latency: float
    layout: Callable[[int, float, float], str]

    def xml(self, n_node: int) -> str:
        """SimGrid's platform file for so many nodes."""
        return self.layout(n_node, self.bandwidth, self.latency)


def _cluster(name: str, first: int, n: int, bandwidth: float, latency: float, extra: str = "") -> str:
    """Nodes `first` ... on a switch without limits of its own."""
    return (
        f'<cluster id="{name}" prefix="n" suffix="" radical="{first}-{first + n - 1}" speed="1Gf" '
        f'bw="{bandwidth:.6g}Bps" lat="{latency / 2:.6g}s" {extra}/>\n'
    )


def _one_switch(n: int, bandwidth: float, latency: float) -> str:
    return f"{_HEAD}{_cluster('nodes', 0, n, bandwidth, latency)}</platform>\n"


def _fat_tree(n: int, bandwidth: float, latency: float, leaf: int = 32) -> str:
    """Switches of `leaf` nodes, each with a link to leaf/2 spines: half of the bisection bandwidth."""
    if n <= leaf:
        return _one_switch(n, bandwidth, latency)
    n_leaf = -(-n // leaf)
    shape = f'topology="FAT_TREE" topo_parameters="2;{leaf},{n_leaf};1,{leaf // 2};1,1"'
    return f"{_HEAD}{_cluster('nodes', 0, leaf * n_leaf, bandwidth, latency, shape)}</platform>\n"


def _supernodes(n: int, bandwidth: float, latency: float, supernode: int = 256, taper: float = 0.25) -> str:
    """Supernodes without limits inside; each has `taper` of its nodes' bandwidth to the others."""
    count = -(-n // supernode)
    if count == 1:
        return _one_switch(n, bandwidth, latency)
    parts = [_cluster(f"s{i}", i * supernode, supernode, bandwidth, latency, f'router_id="r{i}"') for i in range(count)]
    trunk = supernode * bandwidth * taper
    parts += [
        f'<link id="{way}{i}" bandwidth="{trunk:.6g}Bps" latency="{latency / 2:.6g}s"/>\n'
        for i in range(count)
        for way in ("up", "down")
    ]
    parts += [
        f'<zoneRoute src="s{i}" dst="s{j}" gw_src="r{i}" gw_dst="r{j}" symmetrical="NO">'
        f'<link_ctn id="up{i}"/><link_ctn id="down{j}"/></zoneRoute>\n'
        for i in range(count)
        for j in range(count)
        if i != j
    ]
    return f'{_HEAD}<zone id="machine" routing="Full">\n{"".join(parts)}</zone>\n</platform>\n'


PLATFORMS = {
    "taihulight": Platform(
        "Sunway TaihuLight",
        "Dongarra, Report on the Sunway TaihuLight System (UT-EECS-16-742, 2016): MPI 12 GB/s and 1 µs between nodes, "
        "256 nodes in a supernode; Fu et al., Sci. China Inf. Sci. 59, 072001 (2016): a quarter of the bandwidth "
        "between supernodes",
        12e9,
        1e-6,
        _supernodes,
    ),
    "fdr": Platform(
        "InfiniBand FDR fat tree",
        "FDR 4×: 56.25 Gb/s with 64b/66b coding are 6.8 GB/s (InfiniBand Architecture Specification 1.3); 1 µs between "
        "nodes at a switch as MPI benchmarks of such adapters find; 32 nodes and 16 up-links per switch",
        6.8e9,
        1e-6,
        _fat_tree,
    ),
}


def this_machine(bandwidth: float, latency: float) -> Platform:
    """Ranks of this machine, which pass messages through memory at a measured pace (bytes/s, s)."""
    return Platform("this machine", "measured", bandwidth, latency, _one_switch)
