# Arrays are C-contiguous and of exactly this type, or ValueError.
import numpy as np
from numpy.typing import NDArray

def systematic_resample(weight: NDArray[np.float64], offset: NDArray[np.float64], count: int) -> NDArray[np.int64]: ...
def merge_repeats(picked: NDArray[np.int64]) -> NDArray[np.float64]: ...
def flatten_weights(log_weight: NDArray[np.float64], min_effective: float, threads: int) -> NDArray[np.float64]: ...
def find_modes(
    quaternions: NDArray[np.float64],
    weight: NDArray[np.float64],
    classes: NDArray[np.int32],
    radius: NDArray[np.float64],
    n_mode: int,
) -> NDArray[np.int64]: ...
def gather_mode(
    quaternion: NDArray[np.float64],
    shift: NDArray[np.float64],
    weight: NDArray[np.float64],
    classes: NDArray[np.int32],
    mode: NDArray[np.int64],
    rows: NDArray[np.int64],
    number: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]: ...
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
def place_pairs(
    index: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    classes: NDArray[np.int32],
    rows: NDArray[np.int64],
    quaternion: NDArray[np.float64],
    shift: NDArray[np.float64],
    class_index: NDArray[np.int32],
) -> None: ...
def rotation_spread(
    weight: NDArray[np.float64],
    rotations: NDArray[np.float64],
    classes: NDArray[np.int32],
    its_class: NDArray[np.int32],
    centre: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def shift_spread(
    weight: NDArray[np.float64],
    shifts: NDArray[np.float64],
    centre: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def mean_rotation(
    weight: NDArray[np.float64],
    rotations: NDArray[np.float64],
    classes: NDArray[np.int32],
    its_class: NDArray[np.int32],
    centre: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def mean_shift(
    weight: NDArray[np.float64],
    shifts: NDArray[np.float64],
    centre: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> NDArray[np.float64]: ...
