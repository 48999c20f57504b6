# Arrays are C-contiguous and of exactly this type, or ValueError.
import numpy as np
from numpy.typing import NDArray

def systematic_resample(weight: NDArray[np.float64], offset: NDArray[np.float64], count: int) -> NDArray[np.int64]: ...
def merge_repeats(picked: NDArray[np.int64]) -> NDArray[np.float64]: ...
def flatten_weights(log_weight: NDArray[np.float64], min_effective: float, threads: int) -> NDArray[np.float64]: ...
def best_pairs(
    pairs: NDArray[np.float32], of_rotation: NDArray[np.float64], of_shift: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]: ...
def pair_marginals(
    pairs: NDArray[np.float32],
    of_rotation: NDArray[np.float64],
    of_shift: NDArray[np.float64],
    classes: NDArray[np.int32],
    its_class: NDArray[np.int32],
    min_effective: float,
    threads: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def draw_pairs(
    pairs: NDArray[np.float32],
    of_rotation: NDArray[np.float64],
    of_shift: NDArray[np.float64],
    offset: NDArray[np.float64],
    count: int,
    threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]: ...
