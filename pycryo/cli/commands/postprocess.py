"""``pycryo postprocess``: a sharpened map of two half-maps, or of each class of a refinement."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pycryo.cli.folder_run import Job
from pycryo.cli.half_maps import add_source, read_halves, read_halves_mask, settle_source
from pycryo.cli.option_arguments import add_overwrite, add_talk
from pycryo.errors import InputError
from pycryo.parallel.comm import SerialComm

if TYPE_CHECKING:
    from pycryo.postprocessing.process import PostprocessOptions, PostprocessResult
    from pycryo.refinement.files.finished_run import FinishedRun

log = logging.getLogger(__name__)

NAME = "postprocess"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.allow_abbrev = False
    add_source(parser, f"RUN/{NAME}")
    parser.add_argument("--mask", type=Path, metavar="M.mrc", help="soft mask, 0 to 1 (default: the run's, or made)")
    parser.add_argument(
        "--mtf",
        type=Path,
        metavar="MTF.star",
        help="MTF of the detector (default: that of the run's optics table, if any)",
    )
    parser.add_argument(
        "--mtf-pixel-size", "--mtf_angpix", type=float, metavar="Å",
        help="pixel size of the detector, before binning (default: that of the maps)",
    )  # fmt: skip
    parser.add_argument(
        "--b-factor", "--adhoc_bfac", type=float, metavar="Å²", help="negative to sharpen (default: the Guinier fit)"
    )
    parser.add_argument(
        "--fit-from",
        "--autob_lowres",
        type=float,
        default=10.0,
        metavar="Å",
        help="where the Guinier fit begins (default: 10)",
    )
    parser.add_argument(
        "--fit-to",
        "--autob_highres",
        type=float,
        default=0.0,
        metavar="Å",
        help="where it ends (default: the resolution)",
    )
    parser.add_argument("--low-pass", "--low_pass", type=float, metavar="Å", help="filter of the sharpened map")
    parser.add_argument(
        "--no-fsc-weighting", "--skip_fsc_weighting", action="store_true", help="needs --low-pass: noise is not damped"
    )
    parser.add_argument("--pixel-size", "--angpix", type=float, metavar="Å", help="instead of that of the half-maps")
    parser.add_argument(
        "--symmetry", "--sym", metavar="GROUP", help="of the half-maps: mates make noise agree more (default: C1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random phases (default: 0)")
    add_overwrite(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Sharpen and write; returns the exit code."""
    return _Job.carry_out(SerialComm(), args, NAME)


class _Job(Job):
    """One run of the command."""

    def work(self) -> None:
        """Read, sharpen, write, tell."""
        args = self.args
        source = settle_source(args, NAME, ("--pixel-size", "--symmetry"))
        options = _options(args, source)
        if source is None:
            self._halves(options)
        else:
            self._classes(source, options)

    def _halves(self, options: PostprocessOptions) -> None:
        from pycryo.io.mrc import read_place
        from pycryo.postprocessing.files import write_result
        from pycryo.postprocessing.process import postprocess

        first, second = read_halves(self.args)
        mask = read_halves_mask(self.args, first)
        self._begin()
        result = postprocess(first, second, mask, options)
        halves = (self.args.half1, self.args.half2)
        place = read_place(halves[0], first.pixel_size)
        write_result(self.args.out / NAME, result, halves, self.args.mask, place=place)
        print(tell(result))

    def _classes(self, source: FinishedRun, options: PostprocessOptions) -> None:
        from pycryo.refinement.files.half_maps import class_name
        from pycryo.refinement.files.postprocessed import postprocess_class

        self._begin()
        if source.doubt:
            log.warning("%s: %s", source.folder, source.doubt)
        for k in range(1, source.classes + 1):
            prefix = self.args.out / class_name(NAME, k)
            result, _ = postprocess_class(source, k, prefix, options, self.args.mask)
            print(f"class {k}\n{tell(result)}" if source.classes > 1 else tell(result))

    def _begin(self) -> None:
        self.take_folder(overwrite=self.args.overwrite)
        self.open_log()


def _options(args: argparse.Namespace, source: FinishedRun | None) -> PostprocessOptions:
    from pycryo.geometry.symmetry import symmetry
    from pycryo.io.mrc_header import read_header
    from pycryo.postprocessing.mtf import read_mtf
    from pycryo.postprocessing.process import PostprocessOptions
    from pycryo.postprocessing.sharpen import Filter
    from pycryo.refinement.files.postprocessed import mtf_of

    if args.no_fsc_weighting and args.low_pass is None:
        raise InputError("--no-fsc-weighting leaves the noise as it is: give --low-pass as well")
    if args.mtf_pixel_size is not None and args.mtf is None:
        raise InputError("--mtf-pixel-size is that of --mtf: give both")
    how = Filter(
        b_factor=args.b_factor, fit_from=args.fit_from, fit_to=args.fit_to, is_weighted=not args.no_fsc_weighting
    )
    if args.mtf is not None:
        half = args.half1 if source is None else source.half_maps_of(1)[0]
        own = args.pixel_size if args.pixel_size is not None else read_header(half).pixel_size
        how = replace(how, mtf=read_mtf(args.mtf, own if args.mtf_pixel_size is None else args.mtf_pixel_size))
    elif source is not None:
        how = replace(how, mtf=mtf_of(source))
    order = len(symmetry(args.symmetry or "C1"))
    return PostprocessOptions(how, args.low_pass, order, args.seed)


def tell(result: PostprocessResult) -> str:
    """What was found, in a few lines."""
    lines = [f"resolution  {result.resolution:.2f} Å (corrected FSC, 0.143)"]
    if result.returned_resolution is not None:
        lines.append(f"            beyond a gap the signal comes back, to {result.returned_resolution:.2f} Å")
    line, b_factor = result.guinier.line, result.b_factor
    if b_factor is None:
        lines.append("B-factor    none: too few shells are fine enough for a fit; give --b-factor if you know it")
    elif line is not None and b_factor == line.b_factor:
        lines.append(
            f"B-factor    {b_factor:.1f} Å² (Guinier fit of {line.n} shells, correlation {line.correlation:.3f})"
        )
    else:
        lines.append(f"B-factor    {b_factor:.1f} Å², as given")
    return "\n".join(lines)
