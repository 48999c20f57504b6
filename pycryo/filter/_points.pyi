# Arrays are C-contiguous and of exactly this type, or ValueError.
import numpy as np
from numpy.typing import NDArray

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
