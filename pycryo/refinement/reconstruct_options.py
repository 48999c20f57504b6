"""Options of a map from known poses."""

from __future__ import annotations

from dataclasses import dataclass

from pycryo.errors import InputError
from pycryo.geometry.symmetry import symmetry as point_group
from pycryo.model.ewald import check_ctf, check_hand
from pycryo.model.owners import MODELS, Model
from pycryo.option_fields import check_types


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructOptions:
    """Options of `reconstruct`.

    Attributes
    ----------
    symmetry : str
        Point group, see `pycryo.geometry.symmetry.symmetry`.
    padding : int
        Padding factor of the Fourier volume.
    ctf : bool
        Correct for the contrast transfer function.
    invert_contrast : bool
        The particles are dark on light.
    half_maps : bool
        Also reconstruct each half of rlnRandomSubset (drawn if absent) and measure their FSC.
    max_resolution : float, optional
        Å; the map ends there. Default: Nyquist.
    background_radius : float, optional
        Å; the mean of each image outside of it is subtracted. Default: half the box.
    max_bad_fraction : float
        More unusable images (NaN, constant, without defocus) than this share are an error; fewer are left out.
    seed : int
        Of the halves, if they have to be drawn.
    model : str
        How ranks hold the model, see `pycryo.model.owners.MODELS`.
    single : bool
        Transform in single precision.
    memory : float, optional
        GiB for images that wait for insertion. Default: half of what is free, divided by the ranks of the node.
    ewald : bool
        Allow for the thickness of the particle: insert the images on the Ewald sphere.
    ewald_hand : int
        See `pycryo.model.ewald.Ewald`.
    diameter : float, optional
        Of the particle, Å, for the Ewald sphere. Default: two thirds of the box.

    Raises
    ------
    InputError
        If a value is of another type or out of range.
    """

    symmetry: str = "C1"
    padding: int = 2
    ctf: bool = True
    invert_contrast: bool = False
    half_maps: bool = False
    max_resolution: float | None = None
    background_radius: float | None = None
    max_bad_fraction: float = 0.05
    seed: int = 1
    model: Model = "slab"
    single: bool = False
    memory: float | None = None
    ewald: bool = False
    ewald_hand: int = 1
    diameter: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        point_group(self.symmetry)
        if self.padding < 1:
            raise InputError(f"padding is {self.padding}, it must be at least 1")
        if not 0 <= self.max_bad_fraction <= 1:
            raise InputError(f"max-bad-fraction is {self.max_bad_fraction}, it must be between 0 and 1")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, it must not be negative")
        if self.model not in MODELS:
            raise InputError(f"model is '{self.model}', use {', '.join(MODELS[:-1])} or {MODELS[-1]}")
        if self.memory is not None and not 0 < self.memory < 1e9:
            raise InputError(f"memory is {self.memory}, it must be a positive number of GiB")
        if self.background_radius is not None and not 0 < self.background_radius < float("inf"):
            raise InputError(f"the background radius is {self.background_radius} Å, it must be positive")
        if self.diameter is not None and not 0 < self.diameter < float("inf"):
            raise InputError(f"the diameter of the particle is {self.diameter} Å, it must be positive")
        check_hand(self.ewald_hand)
        check_ctf(has_ewald=self.ewald, has_ctf=self.ctf)
