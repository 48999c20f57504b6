# Arrays are C-contiguous and of exactly this type, or ValueError.
import numpy as np
from numpy.typing import NDArray

def uniform(seed: int, stream: int, ids: NDArray[np.int64], count: int) -> NDArray[np.float64]: ...
def normal(seed: int, stream: int, ids: NDArray[np.int64], count: int) -> NDArray[np.float64]: ...
def student(
    seed: int, stream: int, chi_stream: int, ids: NDArray[np.int64], count: int, dimension: int, threads: int
) -> NDArray[np.float64]: ...
def turn_rotations(
    rotations: NDArray[np.float64],
    pick: NDArray[np.int64],
    tangent: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def move_shifts(
    shifts: NDArray[np.float64],
    pick: NDArray[np.int64],
    tangent: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def rotation_proposal_density(
    points: NDArray[np.float64],
    centres: NDArray[np.float64],
    pick: NDArray[np.int64],
    scale: NDArray[np.float64],
    class_of_point: NDArray[np.int32],
    class_of_centre: NDArray[np.int32],
    same: float,
    other: float,
    threads: int,
) -> NDArray[np.float64]: ...
def shift_proposal_density(
    points: NDArray[np.float64],
    centres: NDArray[np.float64],
    pick: NDArray[np.int64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]: ...
