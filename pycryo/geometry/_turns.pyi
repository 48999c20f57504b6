# Arrays are C-contiguous and of exactly this type, or ValueError.
import numpy as np
from numpy.typing import NDArray

def matrices(quaternions: NDArray[np.float64]) -> NDArray[np.float64]: ...
def nearest_mates(
    quaternions: NDArray[np.float64], anchors: NDArray[np.float64], mates: NDArray[np.float64]
) -> NDArray[np.float64]: ...
def nearest_points(
    points: NDArray[np.float64], first: NDArray[np.int64], side: int, others: NDArray[np.float64]
) -> NDArray[np.int64]: ...
