"""The compiled kernels as functions on NumPy arrays; `reference` has the float64 twin of each.

Doors: `ctf`, `shift`, `shells`, `projector`, `compare`, `compare_local`, `defocus_scores`, `backprojector`, `keyvalue`,
`mates`, `gridding`, `images`; `pixels` and `sphere` are the samples that they work on, `entries` what is inserted.
"""

from pycryo.kernels.adjoint import adjoint_volume as adjoint_volume
from pycryo.kernels.backprojector import Accumulators as Accumulators
from pycryo.kernels.backprojector import entry_quanta as entry_quanta
from pycryo.kernels.backprojector import fold_hermitian as fold_hermitian
from pycryo.kernels.backprojector import insert as insert
from pycryo.kernels.backprojector import new_accumulators as new_accumulators
from pycryo.kernels.compare import BestPoses as BestPoses
from pycryo.kernels.compare import ImagePanel as ImagePanel
from pycryo.kernels.compare import SlicePanel as SlicePanel
from pycryo.kernels.compare import compare as compare
from pycryo.kernels.compare import compare_scores as compare_scores
from pycryo.kernels.compare import new_best as new_best
from pycryo.kernels.compare import pack_images as pack_images
from pycryo.kernels.compare import pack_slices as pack_slices
from pycryo.kernels.compare_local import compare_local as compare_local
from pycryo.kernels.ctf import ctf as ctf
from pycryo.kernels.defocus_scores import defocus_scores as defocus_scores
from pycryo.kernels.defocus_scores import defocus_sums as defocus_sums
from pycryo.kernels.entries import Entries as Entries
from pycryo.kernels.keyvalue import KeyValues as KeyValues
from pycryo.kernels.keyvalue import merge_key_values as merge_key_values
from pycryo.kernels.keyvalue import to_key_values as to_key_values
from pycryo.kernels.pixels import Pixels as Pixels
from pycryo.kernels.pixels import half_plane as half_plane
from pycryo.kernels.projector import FourierVolume as FourierVolume
from pycryo.kernels.projector import fourier_volume as fourier_volume
from pycryo.kernels.projector import project as project
from pycryo.kernels.projector import project_images as project_images
from pycryo.kernels.projector import project_slices as project_slices
from pycryo.kernels.shells import image_shells as image_shells
from pycryo.kernels.shells import volume_shells as volume_shells
from pycryo.kernels.shift import shift as shift
