# Arrays are C-contiguous and of exactly this type, or ValueError; places are not checked.
import numpy as np
from numpy.typing import NDArray

def pick(
    transforms: NDArray[np.float32], places: NDArray[np.int64], out: NDArray[np.float32], threads: int
) -> None: ...
def columns(rows: NDArray[np.float32], places: NDArray[np.int64], threads: int) -> NDArray[np.float32]: ...
