# Arrays have to be C-contiguous and of exactly this type: TypeError else. csrc/bindings/bind_<kernel>.cpp checks their
# shapes, csrc/include/pycryo/<kernel>.hpp says what is in them, pycryo.kernels.<kernel> has the documented functions.
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

# key, re, im, weight
_KeyValues: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

kernels: tuple[str, ...]
compare_cell_slices: int

def isa() -> str: ...

# ctf
def ctf(
    coefficients: NDArray[np.float64],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    offset: NDArray[np.float64],
    which: NDArray[np.int32],
    out: NDArray[np.float32],
    threads: int,
) -> None: ...

# shift
def shift(
    images: NDArray[np.float32],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    shifts: NDArray[np.float64],
    box: float,
    k_max: int,
    out: NDArray[np.float32],
    threads: int,
) -> None: ...

# shells
@overload
def layer_shells(
    a: NDArray[np.float32], b: NDArray[np.float32], number: NDArray[np.int64], out: NDArray[np.float64], threads: int
) -> None: ...
@overload
def layer_shells(
    a: NDArray[np.float64], b: NDArray[np.float64], number: NDArray[np.int64], out: NDArray[np.float64], threads: int
) -> None: ...
def image_shells(
    a: NDArray[np.float32], b: NDArray[np.float32], shell: NDArray[np.int32], out: NDArray[np.float64], threads: int
) -> None: ...

# projector
def project_slices(
    volume: NDArray[np.float32],
    rotations: NDArray[np.float64],
    curvature: NDArray[np.float64],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    step: float,
    out: NDArray[np.float32],
    threads: int,
) -> None: ...

# images
def image_box_is_quick(box: int) -> bool: ...
def images(
    samples: NDArray[np.float32],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    box: int,
    out: NDArray[np.float32],
    threads: int,
) -> None: ...

# compare
def compare_pack_images(
    images: NDArray[np.float32], weights: NDArray[np.float32], rows: NDArray[np.float32], n_group: int, threads: int
) -> None: ...
def compare_pack_slices(
    slices: NDArray[np.float32], columns: NDArray[np.float32], norms: NDArray[np.float32], threads: int
) -> None: ...
def compare(
    rows: NDArray[np.float32],
    weights: NDArray[np.float32],
    n_image: int,
    n_shift: int,
    n_pixel: int,
    n_group: int,
    columns: NDArray[np.float32],
    norms: NDArray[np.float32],
    n_slice: int,
    slice_pixel: int,
    slice_offset: int,
    log_prior_shift: NDArray[np.float32] | None,
    log_prior_slice: NDArray[np.float32] | None,
    active: NDArray[np.uint8] | None,
    score: NDArray[np.float32],
    index: NDArray[np.int64],
    log_max: NDArray[np.float64],
    log_sum: NDArray[np.float64],
    margin: float,
    relative_margin: float,
    threads: int,
) -> None: ...
def compare_scores(
    rows: NDArray[np.float32],
    weights: NDArray[np.float32],
    n_image: int,
    n_shift: int,
    n_pixel: int,
    n_group: int,
    columns: NDArray[np.float32],
    norms: NDArray[np.float32],
    n_slice: int,
    slice_pixel: int,
    log_prior_shift: NDArray[np.float32] | None,
    log_prior_slice: NDArray[np.float32] | None,
    out: NDArray[np.float32],
    threads: int,
) -> None: ...

# compare_local
def compare_local(
    volumes: list[NDArray[np.float32]],
    classes: NDArray[np.int32],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    places: NDArray[np.int64],
    images: NDArray[np.float32],
    weights: NDArray[np.float32],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    box: float,
    step: float,
    out: NDArray[np.float32],
    threads: int,
) -> None: ...

# defocus_scores
def defocus_sums(
    images: NDArray[np.float32],
    slices: NDArray[np.float32],
    weights: NDArray[np.float32],
    sine: NDArray[np.float32],
    cosine: NDArray[np.float32],
    bin: NDArray[np.int32],
    out: NDArray[np.float64],
    threads: int,
) -> None: ...
def defocus_scores(
    sums: NDArray[np.float64],
    phase: NDArray[np.float64],
    first: NDArray[np.float64],
    step: NDArray[np.float64],
    out: NDArray[np.float64],
    threads: int,
) -> None: ...

# backprojector
def backproject(
    images: NDArray[np.float32],
    weights: NDArray[np.float32],
    entry_image: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    entry_weight: NDArray[np.float64],
    curvature: NDArray[np.float64],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    box: float,
    magnification: float,
    quantum_value: float,
    quantum_weight: float,
    radius: int,
    start: NDArray[np.int64],
    first: int,
    last: int,
    re: NDArray[np.float64],
    im: NDArray[np.float64],
    weight: NDArray[np.float64],
    threads: int,
) -> None: ...

# keyvalue
def to_key_values(
    images: NDArray[np.float32],
    weights: NDArray[np.float32],
    entry_image: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    entry_weight: NDArray[np.float64],
    curvature: NDArray[np.float64],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    box: float,
    magnification: float,
    quantum_value: float,
    quantum_weight: float,
    radius: int,
    start: NDArray[np.int64],
    first: int,
    last: int,
    threads: int,
) -> _KeyValues: ...
def count_key_values(
    rotations: NDArray[np.float64],
    curvature: NDArray[np.float64],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    magnification: float,
    radius: int,
    start: NDArray[np.int64],
    first: int,
    last: int,
    threads: int,
) -> int: ...
def merge_key_values(parts: list[_KeyValues], threads: int) -> _KeyValues: ...
def add_key_values(
    key: NDArray[np.int64],
    re: NDArray[np.float64],
    im: NDArray[np.float64],
    weight: NDArray[np.float64],
    radius: int,
    start: NDArray[np.int64],
    first: int,
    last: int,
    to_re: NDArray[np.float64],
    to_im: NDArray[np.float64],
    to_weight: NDArray[np.float64],
    threads: int,
) -> None: ...

# mates
def add_mates(
    rotation: NDArray[np.int32],
    is_imaginary: bool,
    radius: int,
    start: NDArray[np.int64],
    source_first: int,
    source_last: int,
    source: NDArray[np.float64],
    first: int,
    last: int,
    target: NDArray[np.float64],
    threads: int,
) -> None: ...

# gridding
@overload
def gridding_place(
    start: NDArray[np.int64],
    y: int,
    reach: int,
    inside: int,
    shells_per_px: float,
    re: NDArray[np.float64],
    im: NDArray[np.float64] | None,
    samples: NDArray[np.float32],
) -> None: ...
@overload
def gridding_place(
    start: NDArray[np.int64],
    y: int,
    reach: int,
    inside: int,
    shells_per_px: float,
    re: NDArray[np.float64],
    im: NDArray[np.float64] | None,
    samples: NDArray[np.float64],
) -> None: ...
@overload
def gridding_deviation(
    start: NDArray[np.int64], y: int, reach: int, inside: int, shells_per_px: float, samples: NDArray[np.float32]
) -> float: ...
@overload
def gridding_deviation(
    start: NDArray[np.int64], y: int, reach: int, inside: int, shells_per_px: float, samples: NDArray[np.float64]
) -> float: ...
@overload
def gridding_divide(
    start: NDArray[np.int64],
    y: int,
    reach: int,
    inside: int,
    shells_per_px: float,
    samples: NDArray[np.float32],
    w: NDArray[np.float64],
) -> None: ...
@overload
def gridding_divide(
    start: NDArray[np.int64],
    y: int,
    reach: int,
    inside: int,
    shells_per_px: float,
    samples: NDArray[np.float64],
    w: NDArray[np.float64],
) -> None: ...
@overload
def gridding_scale(points: NDArray[np.float32], along_y: NDArray[np.float32], along_x: NDArray[np.float32]) -> None: ...
@overload
def gridding_scale(points: NDArray[np.float64], along_y: NDArray[np.float64], along_x: NDArray[np.float64]) -> None: ...
def gridding_shell_sums(
    start: NDArray[np.int64],
    y: int,
    reach: int,
    inside: int,
    shells_per_px: float,
    weight: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None: ...
def gridding_start(
    start: NDArray[np.int64],
    y: int,
    reach: int,
    inside: int,
    shells_per_px: float,
    weight: NDArray[np.float64],
    add: NDArray[np.float64],
    w: NDArray[np.float64],
) -> None: ...
def gridding_product(
    start: NDArray[np.int64],
    y: int,
    reach: int,
    inside: int,
    shells_per_px: float,
    weight: NDArray[np.float64],
    add: NDArray[np.float64],
    w: NDArray[np.float64],
    product: NDArray[np.float64],
) -> None: ...
