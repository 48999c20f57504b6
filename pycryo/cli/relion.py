"""Options of relion_refine that `pycryo refine` takes: what becomes of each, in one table.

Options that mean the same here under another name are further spellings of pycryo's own (`OWN`). The others are in
`TABLE`: what pycryo always does, what it does instead, and what it refuses, because leaving it out would give another
result than the one asked for.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pycryo.errors import InputError

Kind = Literal["always", "instead", "refused"]

# RELION's spelling -> the argument of pycryo that it is another name of.
OWN = {
    "--i": "PARTICLES.star",
    "--o": "--out",
    "--ref": "--ref",
    "--sym": "--symmetry",
    "--particle_diameter": "--diameter",
    "--ini_high": "--ini-high",
    "--K": "--classes",
    "--solvent_mask": "--mask",
    "--sigma_ang": "--local --sigma-ang",
    "--iter": "--max-iter",
    "--auto_iter_max": "--max-iter",
    "--pad": "--padding",
    "--j": "--threads",
    "--random_seed": "--seed",
    "--scratch_dir": "--scratch",
    "--preread_images": "--preread",
    "--continue": "--continue",
    "--in_parts": "PARTICLES.star",
    "--in_3dref": "--ref",
    "--in_mask": "--mask",
}


@dataclass(frozen=True, slots=True)
class Foreign:
    """Options of RELION of which one thing is to be said.

    Attributes
    ----------
    kind : str
        "always": pycryo does so anyway; "instead": it does what `text` says; "refused": `text` says what to do.
    text : str
    names : tuple of str
        A name that ends with ``=`` takes a value, one with ``?`` may have one.
    """

    kind: Kind
    text: str
    names: tuple[str, ...]

    def options(self) -> Iterator[tuple[str, str | int | None]]:
        """Each option, and the number of its values as argparse has it."""
        for name in self.names:
            yield name.rstrip("=?"), 0 if name[-1] not in "=?" else None if name[-1] == "=" else "?"


def _entry(kind: Kind, text: str, names: str) -> Foreign:
    return Foreign(kind, text, tuple(f"--{name}" for name in names.split()))


_HELIX = (
    "helix helical_exclude_resols= helical_inner_diameter= helical_outer_diameter= helical_keep_tilt_prior_fixed "
    "helical_nr_asu= helical_nstart= helical_offset_step= helical_rise_inistep= helical_rise_initial= "
    "helical_rise_max= helical_rise_min= helical_sigma_distance= helical_symmetry_search helical_twist_inistep= "
    "helical_twist_initial= helical_twist_max= helical_twist_min= helical_z_percentage= ignore_helical_symmetry "
    "skip_realspace_helical_sym bimodal_psi"
)
_GRADIENT = (
    "grad grad_em_iters= grad_fin_frac= grad_fin_resol= grad_fin_subset= grad_ini_frac= grad_ini_resol= "
    "grad_ini_subset= grad_min_resol= grad_stepsize= grad_stepsize_scheme= grad_write_iter= tau2_fudge_scheme= mu= "
    "class_inactivity_threshold= no_init_blobs denovo_3dref som som_connectivity= som_inactivity_threshold= "
    "som_ini_nodes= som_neighbour_pull="
)
_TOMOGRAPHY = (
    "ios= tomograms= trajectories= normalised_subtomo ctf3d_not_squared skip_subtomo_multi subtomo_multi_thr= "
    "offset_range_x= offset_range_y= offset_range_z="
)

TABLE = (
    _entry("always", "one run, on its own, until nothing improves", "auto_refine auto_sampling"),
    _entry("always", "two half-sets that never meet", "split_random_halves"),
    _entry("always", "the CTF is applied in full", "ctf ctf_corrected_ref"),
    _entry("always", "grey values of images and groups are brought to one scale", "norm scale"),
    _entry("always", "what lies outside the mask or the particle becomes zero", "flatten_solvent zero_mask"),
    _entry("always", "the resolution is that of the FSC in the mask, freed of what the mask does to it",
           "solvent_correct_fsc"),
    _entry("always", "a reference of another box or pixel size is rescaled", "trust_ref_size"),
    _entry("always", "grey values of the reference are fitted to the images before they are compared", "firstiter_cc"),
    _entry("instead", "pycryo computes on the CPUs of all ranks", "gpu? cpu sycl free_gpu_memory= failsafe_threshold="),
    _entry("instead", "ranks exchange images and maps by messages, and read the stacks in batches",
           "dont_combine_weights_via_disc no_parallel_disc_io pool= memory_per_thread= onthefly_shifts"),
    _entry("instead", "the folder of --scratch is made for the run and removed after it",
           "keep_free_scratch= keep_scratch reuse_scratch"),
    _entry("instead", "directions and shifts are searched coarse to fine, as fine as the posteriors are sharp",
           "oversampling= healpix_order= auto_local_healpix_order= psi_step= offset_range= offset_step= perturb= "
           "adaptive_fraction= maxsig= allow_coarser_sampling auto_ignore_angles auto_resol_angles"),
    _entry("instead", "the local search begins when few images still change their pose", "fast_subsets"),
    _entry("instead", "shells are compared as far as the half-maps agree, and a little further",
           "coarse_size= incr_size="),
    _entry("instead", "the halves share what is coarser than 40 Å, and than twice their resolution up to 10 Å",
           "low_resol_join_halves="),
    _entry("instead", "maps are filtered by the FSC of the half-maps, without a factor", "tau2_fudge="),
    _entry("instead", "the reference is taken as corrected for the CTF", "ctf_uncorrected_ref"),
    _entry("instead", "noise and the width of the shifts are estimated from all images, in each iteration",
           "nr_parts_sigma2noise= min_sigma2_offset= offset="),
    _entry("instead", "the sphere of --diameter has a soft edge of its own", "maskedge="),
    _entry("instead", "maps are read and filled by trilinear interpolation, and corrected for it",
           "NN r_min_nn= skip_gridding dont_skip_gridding asymmetric_padding pad_ctf"),
    _entry("instead", "the log has what --verbose and --quiet ask for", "verb="),
    _entry("instead", "all images are checked before the first iteration", "dont_check_norm"),
    _entry("instead", "the marks of the end and RELION_JOB_ABORT_NOW are in the folder of --out", "pipeline_control="),
    _entry("refused", "there is no helical symmetry: run relion_refine for a helix", _HELIX),
    _entry("refused", "poses are always searched: for a map from the poses in the file use pycryo reconstruct",
           "skip_align skip_rotate skip_maximize"),
    _entry("refused", "symmetry is neither relaxed nor local: refine with --sym C1 from the symmetric poses (--local)",
           "relax_sym= local_symmetry="),
    _entry("refused", "a map from no reference is made by pycryo abinitio; refine takes all images in each iteration",
           _GRADIENT),
    _entry("refused", "maps are not denoised by a network: leave it out, they are filtered by the FSC",
           "blush blush_skip_spectral_trailing external_reconstruct"),
    _entry("refused", "multi-body refinement is not there: subtract the signal of the other bodies and refine one",
           "multibody_masks= multibody_norm_overlap reconstruct_subtracted_bodies"),
    _entry("refused", "particles are 2D images, not sub-tomograms", _TOMOGRAPHY),
    _entry("refused", "the CTF is applied in full: leave it out; phase-flipped or multiplied images are told of by "
           "rlnCtfDataAreCtfPhaseFlipped and rlnCtfDataAreCtfPremultiplied in data_optics",
           "ctf_intact_first_peak ctf_phase_flipped ctf_multiplied only_flip_phases"),
    _entry("refused", "images are always compared by their likelihood: leave it out", "always_cc"),
    _entry("refused", "only one mask is used, that of --mask: leave it out",
           "solvent_mask2= lowpass_mask= lowpass= fourier_mask="),
    _entry("refused", "how far images are compared follows from the half-maps: leave it out",
           "strict_highres_exp= strict_lowres_exp= abort_at_resolution="),
    _entry("refused", "signal, noise and shifts are always estimated: leave it out",
           "tau= fix_tau fix_sigma_noise fix_sigma_offset no_norm no_scale"),
    _entry("refused", "one width for all angles is given by --local --sigma-ang, that of shifts by --sigma-offset",
           "sigma_rot= sigma_tilt= sigma_psi= sigma_off= limit_tilt="),
    _entry("refused", "a run ends by itself, or after --max-iter iterations, with one map of both half-sets",
           "force_converge join_random_halves"),
    _entry("refused", "maps stay in the frame of the reference: move that", "center_classes"),
    _entry("refused", "the pixel size of the images is that of the STAR file: correct rlnImagePixelSize", "angpix="),
    _entry("refused", "a refinement needs particles: give --in_parts", "in_mics= in_movies= in_coords="),
    _entry("refused", "this prints a list of RELION's own and does nothing else: use RELION, or pycryo refine --help",
           "print_metadata_labels print_symmetry_ops"),
)  # fmt: skip

BY_NAME = {name: each for each in TABLE for name, _ in each.options()}
# A reference whose header differs from --ref_angpix by more than this share has another pixel size.
SAME_PIXEL = 0.01
_ROOT = re.compile(r"run(_ct\d+)?")


class _Note(argparse.Action):
    """Keeps name and value of an option of `TABLE`."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        namespace.relion = [*(getattr(namespace, "relion", None) or []), (option, values if values != [] else None)]


class _SigmaAng(argparse.Action):
    """RELION's search about the poses in the file."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        namespace.sigma_ang, namespace.local = values, True


class Output(argparse.Action):
    """``--out DIR``, or ``--o DIR/run`` as RELION names the beginning of all files."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        namespace.out = job_folder(values) if option == "--o" else values


def job_folder(root: str) -> str:
    """The folder of ``--o Refine3D/job010/run``: files are called run_... anyway; other names are folders.

    A folder that is there, or a name without a folder before it, stays as it is.
    """
    folder, slash, name = root.rpartition("/")
    return folder if slash and folder and _ROOT.fullmatch(name) and not Path(root).is_dir() else root


def add_relion_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `TABLE` and RELION's names of own ones that are no plain spellings, without a help text."""
    for each in TABLE:
        for name, count in each.options():
            parser.add_argument(name, dest="relion", action=_Note, nargs=count, help=argparse.SUPPRESS)
    hidden: dict[str, Any] = {"help": argparse.SUPPRESS}
    parser.add_argument("--sigma_ang", action=_SigmaAng, type=float, default=argparse.SUPPRESS, **hidden)
    for name in ("--iter", "--auto_iter_max"):
        parser.add_argument(name, dest="max_iter", type=int, default=argparse.SUPPRESS, **hidden)
    parser.add_argument("--ref_angpix", type=float, **hidden)
    parser.add_argument("--in_parts", metavar="STAR", **hidden)
    parser.add_argument("--in_3dref", metavar="MRC", **hidden)
    parser.add_argument("--in_mask", metavar="MRC", **hidden)


def settle(args: argparse.Namespace) -> None:
    """Bring the arguments of RELION's External job to their own names.

    Raises
    ------
    InputError
        If an option was given that is refused, or twice under two names.
    """
    given = getattr(args, "relion", None) or []
    refused: dict[str, list[str]] = {}
    for name, _ in given:
        if BY_NAME[name].kind == "refused":
            refused.setdefault(BY_NAME[name].text, []).append(name)
    if refused:
        raise InputError("; ".join(f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in refused.items()))
    for name, own in (("in_parts", "particles_flag"), ("in_3dref", "ref"), ("in_mask", "mask")):
        value = getattr(args, name, None)
        if value is None:
            continue
        if getattr(args, own) is not None or (own == "particles_flag" and args.particles is not None):
            raise InputError(f"--{name} {value} is given beside {OWN[f'--{name}']}: give one of them")
        setattr(args, own, [value] if own == "ref" else value)


def is_external(args: argparse.Namespace) -> bool:
    """Whether RELION's External job, which wants a list of the output, has made the command."""
    return getattr(args, "in_parts", None) is not None


def lines(args: argparse.Namespace) -> list[str]:
    """What the log is to say of the options that are RELION's, a line for each thing that pycryo does."""
    given: Sequence[tuple[str, str | None]] = getattr(args, "relion", None) or []
    always = [name for name, _ in given if BY_NAME[name].kind == "always"]
    told: dict[str, list[str]] = {}
    for name, value in given:
        if BY_NAME[name].kind == "instead":
            told.setdefault(BY_NAME[name].text, []).append(f"{name} {value}" if value else name)
    found = [f"RELION's {', '.join(names)}: {text}" for text, names in told.items()]
    if always:
        found.insert(0, f"RELION's {', '.join(always)}: pycryo always does so")
    if always and "--ctf" not in always and getattr(args, "ctf", None) is None:
        found.append("RELION would apply no CTF without --ctf, pycryo does: add --no-ctf if the images need none")
    return found


def check_pixel_size(args: argparse.Namespace, pixel_sizes: Sequence[float]) -> None:
    """Compare ``--ref_angpix`` with the headers of the references, Å.

    Raises
    ------
    InputError
        If they differ: maps are read by their header.
    """
    wanted = getattr(args, "ref_angpix", None)
    if wanted is None or wanted <= 0:
        return
    for path, pixel_size in zip(args.ref or (), pixel_sizes, strict=False):
        if abs(pixel_size / wanted - 1) > SAME_PIXEL:
            raise InputError(
                f"--ref_angpix is {wanted:g} Å, but {path} has pixels of {pixel_size:g} Å in its header, which is what "
                "pycryo reads: correct the header"
            )
