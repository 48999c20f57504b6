# Arrays are C-contiguous and of exactly this type, or ValueError.
import numpy as np
from numpy.typing import NDArray

def without_background(images: NDArray[np.float32], around: NDArray[np.int32], threads: int) -> NDArray[np.float32]: ...
def moments(
    images: NDArray[np.float32], left: NDArray[np.int32], right: NDArray[np.int32], threads: int
) -> NDArray[np.float64]: ...
