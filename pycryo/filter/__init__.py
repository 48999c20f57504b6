"""The particle filter: posteriors of pose and class, sampled in phases; it knows no files and no MPI.

Doors: `phases` runs it, `modes` begins it after a scan, `support` holds what it finds, `pairs` its scores, `proposals`
the widths of its kernels, `draws` and `resampling` its random parts.
"""

from pycryo.filter.draws import Draws as Draws
from pycryo.filter.pairs import Pairs as Pairs
from pycryo.filter.phases import PhaseSettings as PhaseSettings
from pycryo.filter.phases import run_phases as run_phases
from pycryo.filter.proposals import Widths as Widths
from pycryo.filter.resampling import flatten_weights as flatten_weights
from pycryo.filter.resampling import resample as resample
from pycryo.filter.support import Posterior as Posterior
from pycryo.filter.support import Support as Support
