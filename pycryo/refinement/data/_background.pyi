# Arrays are C-contiguous and of exactly this type, or ValueError.
import numpy as np
from numpy.typing import NDArray

def without_background(images: NDArray[np.float32], around: NDArray[np.int32], threads: int) -> NDArray[np.float32]: ...
def moments(
    images: NDArray[np.float32], left: NDArray[np.int32], right: NDArray[np.int32], threads: int
) -> NDArray[np.float64]: ...
def ramps(
    images: NDArray[np.float32],
    chosen: NDArray[np.int64],
    around: NDArray[np.int32],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    rounds: int,
    reach: float,
    threads: int,
) -> NDArray[np.float64]: ...
def count_beyond(
    images: NDArray[np.float32],
    chosen: NDArray[np.int64],
    centre: NDArray[np.float32],
    reach: NDArray[np.float32],
    threads: int,
) -> NDArray[np.int64]: ...
def weigh(
    samples: NDArray[np.float32],
    gain: NDArray[np.float32],
    shell: NDArray[np.int32],
    transfer: NDArray[np.float32],
    amplitude: NDArray[np.float32],
    is_premultiplied: bool,
    threads: int,
) -> None: ...
