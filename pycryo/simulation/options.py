"""What a simulated data set shall be like."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pycryo.errors import InputError
from pycryo.io.aberrations import group_values
from pycryo.io.optics import OpticsGroups
from pycryo.io.table import Table, make_table
from pycryo.option_fields import check_types

# Options that are lists -> their columns of an optics table.
_LISTED = {
    "beam_tilt": ("rlnBeamTiltX", "rlnBeamTiltY"),
    "odd_zernike": ("rlnOddZernike",),
    "even_zernike": ("rlnEvenZernike",),
    "magnification": ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """What a simulated data set shall be like; each field is an option of ``pycryo simulate``."""

    n: int = field(default=1000, metadata={"help": "number of particles"})
    snr: float = field(default=0.05, metadata={"help": "variance of the signal / variance of the noise, whole box"})
    defocus_min: float = field(default=8000.0, metadata={"help": "smallest mean defocus, Å"})
    defocus_max: float = field(default=25000.0, metadata={"help": "largest mean defocus, Å"})
    astigmatism: float = field(default=200.0, metadata={"help": "largest difference of the two defoci, Å"})
    voltage: float = field(default=300.0, metadata={"help": "kV"})
    spherical_aberration: float = field(default=2.7, metadata={"help": "mm"})
    amplitude_contrast: float = field(default=0.1, metadata={"help": "fraction of amplitude contrast"})
    shift_sd: float = field(default=3.0, metadata={"help": "standard deviation of the shifts along x and y, px"})
    junk: float = field(default=0.0, metadata={"help": "fraction of images without a centred particle"})
    padding: int = field(default=3, metadata={"help": "padding of the projected transform: more is more exact"})
    beam_tilt: str = field(default="", metadata={"help": "beam tilt X,Y, mrad"})
    odd_zernike: str = field(default="", metadata={"help": "antisymmetric aberrations, as rlnOddZernike: A,B,..."})
    even_zernike: str = field(default="", metadata={"help": "symmetric aberrations, as rlnEvenZernike: A,B,..."})
    magnification: str = field(default="", metadata={"help": "magnification matrix, as rlnMagMat00 to 11: A,B,C,D"})
    ewald_hand: int = field(default=0, metadata={"help": "images of thick particles (Ewald sphere), by hand: 1, -1"})
    seed: int = field(default=1, metadata={"help": "seed of everything random"})

    def __post_init__(self) -> None:
        check_types(self)
        checks = (
            ("n", self.n >= 1, "at least 1"),
            ("snr", 0 < self.snr < np.inf, "positive"),
            ("defocus-min", -np.inf < self.defocus_min <= self.defocus_max < np.inf, "at most --defocus-max"),
            ("astigmatism", 0 <= self.astigmatism < np.inf, "0 or more"),
            ("voltage", 0 < self.voltage < np.inf, "positive"),
            ("spherical-aberration", np.isfinite(self.spherical_aberration), "a finite number"),
            ("amplitude-contrast", 0 <= self.amplitude_contrast <= 1, "between 0 and 1"),
            ("shift-sd", 0 <= self.shift_sd < np.inf, "0 or more"),
            ("junk", 0 <= self.junk < 1, "at least 0 and less than 1"),
            ("padding", self.padding >= 1, "at least 1"),
            ("ewald-hand", self.ewald_hand in (0, 1, -1), "0, 1 or -1"),
            ("seed", self.seed >= 0, "0 or more"),
        )
        for name, good, rule in checks:
            if not good:
                raise InputError(f"--{name} must be {rule}, not {getattr(self, name.replace('-', '_'))}")
        for name, count in (("beam_tilt", 2), ("odd_zernike", None), ("even_zernike", None), ("magnification", 4)):
            found = self.numbers(name)
            if found and count not in (None, len(found)):
                raise InputError(f"--{name.replace('_', '-')} takes {count} numbers, not {len(found)}")

    def numbers(self, name: str) -> list[float]:
        """The numbers of an option that is a list."""
        text = getattr(self, name)
        try:
            return [float(part) for part in text.split(",") if part.strip()]
        except ValueError:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} must be numbers separated by commas, not {text!r}") from None

    def optics_columns(self) -> dict[str, list[str]]:
        """The columns of an optics table, of one group, that say what is wrong with the lenses."""
        columns = {}
        for name, labels in _LISTED.items():
            if numbers := self.numbers(name):
                if len(labels) == 1:
                    columns[labels[0]] = ["[" + ",".join(repr(number) for number in numbers) + "]"]
                else:
                    columns |= {label: [repr(number)] for label, number in zip(labels, numbers, strict=True)}
        return columns

    def optics_table(self, box: int, pixel_size: float) -> Table:
        """RELION's optics table with one group."""
        return make_table(
            {
                "rlnOpticsGroupName": ["opticsGroup1"],
                "rlnOpticsGroup": [1],
                "rlnMicrographOriginalPixelSize": [pixel_size],
                "rlnVoltage": [self.voltage],
                "rlnSphericalAberration": [self.spherical_aberration],
                "rlnAmplitudeContrast": [self.amplitude_contrast],
                "rlnImagePixelSize": [pixel_size],
                "rlnImageSize": [box],
                "rlnImageDimensionality": [2],
                **self.optics_columns(),
            },
            "data_optics",
        )

    def optics(self, box: int, pixel_size: float) -> OpticsGroups:
        """The one group of the images."""
        return OpticsGroups(
            ("opticsGroup1",),
            np.ones(1, np.int32),
            np.array([pixel_size]),
            np.array([box]),
            np.array([self.voltage]),
            np.array([self.spherical_aberration]),
            np.array([self.amplitude_contrast]),
            **group_values(Path(), {k: np.array(v, object) for k, v in self.optics_columns().items()}, 1),
        )
