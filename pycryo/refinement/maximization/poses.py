"""The poses of all particles, gathered from the ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.refinement.data.partition import Partition
from pycryo.refinement.expectation.half_pass import Results
from pycryo.refinement.outcome import Poses


def gather_poses(partition: Partition, results: Results, score: NDArray[np.float64]) -> Poses | None:
    """All poses on rank 0 (None elsewhere); `score` (n_all,) becomes the figure of merit. Collective."""
    optics, group = partition.particles.optics, partition.particles.optics_group
    mine = []
    for result in results:
        if result is not None and result.posterior is not None:
            p, rows = result.posterior, result.rows
            pixel = optics.pixel_size[group[rows]][:, None]
            pose = (rows, p.mode_quaternion, p.mode_shift * pixel, p.defocus_change, p.mode_class)
            mine.append((*pose, p.p_max, p.n_significant, p.log_evidence))
    gathered = partition.comm.gather(mine)
    if gathered is None:
        return None
    columns = [np.concatenate(part) for part in zip(*(piece for rank in gathered for piece in rank), strict=True)]
    order = np.argsort(columns[0], kind="stable")
    columns = [column[order] for column in columns]
    rows, quaternion, shift, change, class_index, p_max, n_significant, log_evidence = columns
    return Poses(rows, quaternion, shift, change, class_index, p_max, n_significant, log_evidence, score[rows])
