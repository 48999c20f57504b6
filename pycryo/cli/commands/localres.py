"""``pycryo localres``: local resolution of two half-maps, and the map filtered to it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pycryo.cli.folder_run import Job
from pycryo.cli.half_maps import add_source, read_halves, read_halves_mask, settle_source
from pycryo.cli.option_arguments import add_overwrite, add_talk
from pycryo.cli.ranks import set_up_rank
from pycryo.errors import InputError
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.world import world

if TYPE_CHECKING:
    from pycryo.io.mrc_header import Place
    from pycryo.maps.density import Map
    from pycryo.maps.slab_map import SlabMap
    from pycryo.postprocessing.local_resolution import LocalResolution

log = logging.getLogger(__name__)

NAME = "localres"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.allow_abbrev = False
    add_source(parser, f"RUN/{NAME}, RUN/{NAME}_class002 for --class 2")
    parser.add_argument(
        "--mask", type=Path, metavar="M.mrc", help="where to look; cuts nothing off (default: the run's, or made)"
    )
    parser.add_argument(
        "--class", type=int, dest="class_number", default=1, metavar="K", help="of the run (default: 1)"
    )
    parser.add_argument(
        "--window", "--locres_sampling", type=float, metavar="Å",
        help="diameter of the window at half height (default: 25, and 4 times the resolution of the whole at least; "
        "wider where the resolution is low)",
    )  # fmt: skip
    parser.add_argument("--step", type=float, metavar="Å", help="between windows (default: a quarter of the window)")
    parser.add_argument(
        "--threshold", "--locres_thresholdFSC", type=float, metavar="FSC",
        help="default: 0.5, for the FSC of a window scatters by 0.1 to 0.3",
    )  # fmt: skip
    parser.add_argument(
        "--b-factor", "--adhoc_bfac", type=float, metavar="Å²",
        help="of the filtered map, negative to sharpen, 0 for none (default: the Guinier fit)",
    )  # fmt: skip
    parser.add_argument("--pixel-size", "--angpix", type=float, metavar="Å", help="instead of that of the half-maps")
    parser.add_argument("--seed", type=int, default=0, help="of the random phases of the whole FSC (default: 0)")
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="per rank (default: all cores)")
    add_overwrite(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, filter, write; under mpiexec the ranks share maps and windows. Collective."""
    return _Job.carry_out(world(), args, NAME)


class _Job(Job):
    """One run of the command."""

    def work(self) -> None:
        """Read, measure, filter, write, tell. Collective."""
        from pycryo.io.mrc import read_place
        from pycryo.maps.fsc import mask_warning
        from pycryo.postprocessing.guinier import check_b_factor
        from pycryo.postprocessing.local_files import write_local_resolution
        from pycryo.postprocessing.local_resolution import LocalOptions, local_resolution

        comm, args = self.comm, self.args
        set_up_rank(comm, args.threads)
        given = {name: getattr(args, name) for name in ("window", "step", "threshold", "seed")}
        options = LocalOptions(**{name: value for name, value in given.items() if value is not None})
        if args.b_factor is not None:
            check_b_factor(args.b_factor)
        args.half1, args.half2, args.mask, args.out = on_root(comm, lambda: _sources(args))
        halves, mask = self._read()
        self.take_folder(overwrite=args.overwrite)
        self.open_log()
        self.tell()
        pixel_size = halves[0].pixel_size
        place: Place = on_root(comm, lambda: read_place(args.half1, pixel_size))
        first, second = (half.data for half in halves)
        found = local_resolution(first, second, pixel_size, None if mask is None else mask.data, options, comm=comm)
        log.info("%s", describe(found))
        if comm.rank == 0 and (told := mask_warning(found.fsc)) is not None:
            log.warning("%s", told)
        filtered, b_factor = self._filtered(halves, found)
        figures = {
            "half_maps": [str(path.resolve()) for path in (args.half1, args.half2)],
            "mask": None if args.mask is None else str(args.mask.resolve()),
            "b_factor": b_factor,
        }
        write_local_resolution(args.out, found, filtered, figures, place)
        if comm.rank == 0:
            log.info("%s: localres.mrc, localres_filtered.mrc; localres.cxc shows them in ChimeraX", args.out)

    def _read(self) -> tuple[list[SlabMap], SlabMap | None]:
        """This rank's planes of the half-maps and of the mask; one rank reads, others get their planes. Collective."""
        from pycryo.maps.density import Map
        from pycryo.maps.masks import fitted_mask
        from pycryo.maps.slab_map import from_root

        args = self.args
        whole: list[Map] = []

        def read() -> bool:
            whole.extend(read_halves(args))
            given = read_halves_mask(args, whole[0])
            if given is not None:
                box, pixel_size = whole[0].box, whole[0].pixel_size
                whole.append(Map(fitted_mask(given, box, pixel_size, str(args.mask)), pixel_size))
            return given is not None

        has_mask = on_root(self.comm, read)
        dealt = []
        for _ in range(3 if has_mask else 2):
            dealt.append(from_root(self.comm, whole.pop(0) if whole else None))
        return dealt[:2], dealt[2] if has_mask else None

    def _filtered(self, halves: list[SlabMap], found: LocalResolution) -> tuple[SlabMap, float]:
        """The map and its B-factor. Collective."""
        from pycryo.postprocessing.local_filter import locally_filtered, mean_b_factor

        b_factor, how = self.args.b_factor, "as given"
        if b_factor is None:
            line = mean_b_factor(found.fsc)
            if line is None:
                b_factor, how = 0.0, "there are too few shells for a Guinier fit"
            elif line.b_factor > 0:
                b_factor, how = 0.0, f"the amplitudes do not fall off: the Guinier fit is {line.b_factor:.0f} Å²"
            else:
                b_factor, how = line.b_factor, f"Guinier fit of {line.n} shells, correlation {line.correlation:.3f}"
        log.info("B-factor %.1f Å² (%s)", b_factor, how)
        first, second = (half.data for half in halves)
        return locally_filtered(first, second, found.resolution, found.window, b_factor, comm=self.comm), b_factor


def _sources(args: argparse.Namespace) -> tuple[Path, Path, Path | None, Path]:
    """Half-maps, mask and output folder."""
    run = settle_source(args, NAME, ("--pixel-size",))
    if run is None:
        if args.class_number != 1:
            raise InputError("--class is of a run: give its folder instead of half-maps")
        return args.half1, args.half2, args.mask, args.out
    if run.doubt:
        log.warning("%s: %s", run.folder, run.doubt)
    return *run.half_maps_of(args.class_number), args.mask or run.mask_of(args.class_number), args.out


def describe(found: LocalResolution) -> str:
    """What was found, in two lines."""
    finest, _, middle, _, coarsest = found.quantiles
    wide = f" ({found.n_doubled} wider)" if found.n_doubled else ""
    return "\n".join(
        [
            f"local resolution {middle:.2f} Å (median), {finest:.2f} to {coarsest:.2f} Å for 90 % of the volume",
            f"FSC {found.threshold:g}, {found.n_window} windows of {found.window:.1f} Å{wide} {found.step:.1f} Å apart",
            f"resolution of the whole {found.fsc.resolution_0143:.2f} Å (corrected FSC, 0.143)",
        ]
    )
