"""Options of a map from known poses."""

from __future__ import annotations

from dataclasses import dataclass

from pycryo.model.owners import Model


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
