"""Particles in the files of other programs, for tests."""

import json

import numpy as np

_CSPARC = {
    "uid": "<u8",
    "blob/path": "S40",
    "blob/idx": "<u4",
    "blob/shape": ("<u4", (2,)),
    "blob/psize_A": "<f4",
    "blob/sign": "<f4",
    "ctf/type": "S9",
    "ctf/exp_group_id": "<u4",
    "ctf/accel_kv": "<f4",
    "ctf/cs_mm": "<f4",
    "ctf/amp_contrast": "<f4",
    "ctf/df1_A": "<f4",
    "ctf/df2_A": "<f4",
    "ctf/df_angle_rad": "<f4",
    "ctf/phase_shift_rad": "<f4",
    "ctf/scale": "<f4",
    "ctf/shift_A": ("<f4", (2,)),
    "ctf/tilt_A": ("<f4", (2,)),
    "ctf/trefoil_A": ("<f4", (2,)),
    "ctf/tetra_A": ("<f4", (4,)),
    "ctf/anisomag": ("<f4", (4,)),
    "ctf/bfactor": "<f4",
    "alignments3D/split": "<u4",
    "alignments3D/shift": ("<f4", (2,)),
    "alignments3D/pose": ("<f4", (3,)),
    "alignments3D/psize_A": "<f4",
    "alignments3D/alpha": "<f4",
    "alignments3D/class": "<u4",
}


def structured(columns):
    """A structured array of columns (n, ...) by name."""
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    n = len(next(iter(arrays.values())))
    table = np.zeros(n, [(name, values.dtype, values.shape[1:]) for name, values in arrays.items()])
    for name, values in arrays.items():
        table[name] = values
    return table


def save_cs(path, table):
    """As cryoSPARC writes them."""
    with open(path, "wb") as file:
        np.lib.format.write_array(file, table, allow_pickle=False)
    return path


def cs_columns(n=4, **changes):
    """Columns of `n` particles of one stack, of a homogeneous refinement; with None a column is left out.

    ``/`` in names is ``__`` in keywords.
    """
    rng = np.random.default_rng(4)
    found = {
        name: np.zeros(n, [("x", *([kind] if isinstance(kind, str) else kind))])["x"] for name, kind in _CSPARC.items()
    }
    found |= {
        "uid": np.arange(100, 100 + n, dtype=np.uint64),
        "blob/path": np.array([b">J3/extract/a.mrcs"] * n),
        "blob/idx": np.arange(n, dtype=np.uint32),
        "blob/shape": np.full((n, 2), 8, np.uint32),
        "blob/psize_A": np.full(n, 1.5, np.float32),
        "blob/sign": np.ones(n, np.float32),
        "ctf/accel_kv": np.full(n, 300, np.float32),
        "ctf/cs_mm": np.full(n, 2.7, np.float32),
        "ctf/amp_contrast": np.full(n, 0.1, np.float32),
        "ctf/df1_A": rng.uniform(9000, 15000, n).astype(np.float32),
        "ctf/df2_A": rng.uniform(9000, 15000, n).astype(np.float32),
        "ctf/df_angle_rad": rng.uniform(-1, 1, n).astype(np.float32),
        "ctf/scale": np.ones(n, np.float32),
        "alignments3D/split": (np.arange(n) % 2).astype(np.uint32),
        "alignments3D/shift": rng.normal(size=(n, 2)).astype(np.float32),
        "alignments3D/pose": rng.normal(size=(n, 3)).astype(np.float32),
        "alignments3D/psize_A": np.full(n, 3.0, np.float32),
        "alignments3D/alpha": np.ones(n, np.float32),
    }
    found |= {name.replace("__", "/"): values for name, values in changes.items()}
    return {name: values for name, values in found.items() if values is not None}


def write_cs(path, n=4, **changes):
    """A .cs file of `cs_columns`."""
    return save_cs(path, structured(cs_columns(n, **changes)))


CISTEM = """# Written by cisTEM

data_

loop_
_cisTEMPositionInStack #1
_cisTEMAnglePsi #2
_cisTEMAngleTheta #3
_cisTEMAnglePhi #4
_cisTEMXShift #5
_cisTEMYShift #6
_cisTEMDefocus1 #7
_cisTEMDefocus2 #8
_cisTEMDefocusAngle #9
_cisTEMPhaseShift #10
_cisTEMOccupancy #11
_cisTEMScore #12
_cisTEMPixelSize #13
_cisTEMMicroscopeVoltagekV #14
_cisTEMMicroscopeCsMM #15
_cisTEMAmplitudeContrast #16
_cisTEMBeamTiltX #17
_cisTEMAssignedSubset #18
_cisTEMStackFilename #19
  1  10.00  20.00  30.00  1.50 -2.25 12000.0 11000.0  45.0 0.50 100.0 12.5 1.5 300.0 2.7 0.07 0.000 1 'a b.mrc'
  3 -10.00  95.00 200.00 -0.50  0.25 13000.0 12500.0 -30.0 0.00  80.0 10.5 1.5 300.0 2.7 0.07 0.000 2 'a b.mrc'
"""
PAR_9 = """C FREALIGN parameter file
C Pixel size of images (A)  :  1.5
C Beam energy (keV)         :  300.0
C Spherical aberration (mm) :  2.7
C Amplitude contrast        :  0.07
C Input particle images     :  stack.mrc
C           PSI   THETA     PHI       SHX       SHY     MAG  FILM      DF1      DF2  ANGAST     OCC      LogP      SIGMA   SCORE  CHANGE
      1   10.00   20.00   30.00      1.50     -2.25   10000     7  12000.0  11000.0   45.00  100.00     -1000     1.0000   12.50    0.00
      3  -10.00   95.00  200.00     -0.50      0.25   10000     8  13000.0  12500.0  -30.00   80.00     -1100     1.1000   10.50    0.10
C  Average     90.00
"""  # noqa: E501
PAR_8 = """C  a line of a header
      1   10.00   20.00   30.00    1.00   -1.50  50000.    7 12000.0 11000.0   45.00   50.00   0.00
      3  -10.00   95.00  200.00   -0.50    0.25  50000.    8 13000.0 12500.0  -30.00   60.00   1.00
"""
_TURN = [0.0, 1.0, 0.0, -2.0, -1.0, 0.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0]  # A of rot 90°, and minus the origin in px


def lst_text(form="LSX", kind="matrix", **more):
    """A list of three particles of EMAN2, all in one pose."""
    ctf = {"defocus": 1.2, "dfdiff": 0.1, "dfang": 45.0, "voltage": 300.0, "cs": 2.7, "ampcont": 10.0, "apix": 1.5}
    matrix = {"matrix": _TURN, "text": str(_TURN)}[kind]
    pose = {"__class__": "Transform", "matrix": matrix}
    lines = []
    for i in range(3):
        details = {
            "xform.projection": pose,
            "ctf": {"__class__": "EMAN2Ctf", **ctf},
            "class": i % 2,
            "score": -0.5,
            **more,
        }
        lines.append(f"{i + 2}\tparticles/a.mrcs\t{json.dumps(details, separators=(',', ':'))}")
    width = max(len(line) for line in lines) + 4
    head = f"#LSX\n# This file is in fast LST format.\n# {width}\n" if form == "LSX" else "#LST\n"
    return head + "".join(line.ljust(width - 1) + "\n" for line in lines)
