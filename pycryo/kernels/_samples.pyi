# Arrays are C-contiguous and of exactly this type, or ValueError; places are not checked.
import numpy as np
from numpy.typing import NDArray

def pick(
    transforms: NDArray[np.float32], places: NDArray[np.int64], out: NDArray[np.float32], threads: int
) -> None: ...
def columns(rows: NDArray[np.float32], places: NDArray[np.int64], threads: int) -> NDArray[np.float32]: ...
def place(
    samples: NDArray[np.float32],
    places: NDArray[np.int64],
    mates: NDArray[np.int64],
    factors: NDArray[np.float32],
    size: int,
    threads: int,
) -> NDArray[np.float32]: ...
