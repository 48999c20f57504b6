# Arrays are C-contiguous and of exactly this type, or ValueError.
import numpy as np
from numpy.typing import NDArray

def mark_families(
    poses: NDArray[np.int64],
    counts: NDArray[np.int64],
    first: NDArray[np.int64],
    family: NDArray[np.int64],
    near_shifts: NDArray[np.uint8],
    n_class: int,
    n_fine: int,
    cell: int,
    threads: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]: ...
