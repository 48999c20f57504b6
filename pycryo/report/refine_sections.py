"""The sections of a refinement's page: add one by its function and its line in `PARTS`."""

from __future__ import annotations

import html
from pathlib import Path

from pycryo.io.json_file import fitting, read_object
from pycryo.maps.density import low_pass
from pycryo.postprocessing.figures import guinier_figure
from pycryo.postprocessing.files import read_guinier
from pycryo.report import figures, map_figures, ranks, scores, surface
from pycryo.report.angdist import bin_spacing, sphere_bins
from pycryo.report.figures import png
from pycryo.report.fsc_files import fsc_figure
from pycryo.report.gaps import return_text
from pycryo.report.optics_figures import PHASES, PHASES_TEXT
from pycryo.report.run_files import RunFiles
from pycryo.report.sections import Part, Section, embedded

# Pictures of optics groups that the page shows, at the most.
_MOST_GROUPS = 6
_LOCALRES_ADVICE = "run `pycryo localres` again"


def _surface(files: RunFiles) -> Section:
    run = files.run
    one = files.classes == 1
    maps, edge = {}, surface.MOST_BOX if one else surface.MANY_BOX
    for k in range(1, min(files.classes, surface.MOST_MAPS) + 1):
        found, mask = (files.map, files.mask) if k == 1 else (files.map_of(k), files.mask_of(k))
        maps["map" if one else f"class {k}"] = surface.shown(found, mask, run["diameter"], run["resolution"], most=edge)
    first = next(iter(maps.values()))
    volume, mass = surface.enclosed(first)
    alt = "The surface of the map, seen along x, along y and along z"
    picture = f'<img src="{embedded(png(surface.still_figure(first)))}" alt="{alt}">'
    text = (
        f"At first the surface is drawn where grey values part best into molecule and solvent. It encloses "
        f"{volume:.0f} nm³, which {mass:.3g} kDa of protein fill; a coarse map is swollen. If you know the mass, "
        f"choose the level that encloses it. The map is shown with voxels of {first.map.pixel_size:.2g} Å"
    )
    text += "." if files.is_done else ", filtered to its resolution: the run goes on."
    if files.classes > surface.MOST_MAPS:
        text += f" Only the first {surface.MOST_MAPS} classes are shown."
    return Section(text, html=surface.interactive(maps, picture))


def _fsc(files: RunFiles) -> Section:
    resolution = files.curves.resolution_0143
    told = return_text(resolution, files.signal_return(1), files.gaps)
    return Section(
        "How well the two half-maps agree, from coarse features (left) to fine ones (right). The resolution is read "
        "where the corrected curve falls below 0.143. Corrected: the masked curve freed of what the mask alone "
        "correlates, which is measured with the phases randomised beyond the first shell where the masked curve is "
        "below 0.8 (Chen et al. 2013)." + (f" {told}" if told else ""),
        fsc_figure(files.curves, gaps=files.gaps),
        f"Curves of the Fourier shell correlation; the corrected one falls below 0.143 at {resolution:.2f} Å",
    )


def _sharpened(files: RunFiles) -> Section | None:
    made = files.run.get("postprocess") or []
    if not made:
        return None
    lines = []
    for each in made:
        how = "weighted by the FSC, not sharpened: too few shells are finer than 10 Å for a B-factor"
        if each["b_factor"] is not None:
            how = f"B-factor {each['b_factor']:.0f} Å², weighted by the FSC"
        mtf = ", divided by the detector’s MTF" if each["has_mtf"] else ""
        lines.append(f"`{each['map']}`: {how}{mtf}.")
    if made[0]["b_factor"] is None:
        return Section(" ".join(lines))
    tables = read_guinier((files.folder / made[0]["map"]).with_suffix(".star"))
    return Section(" ".join(lines), guinier_figure(*tables), "Guinier plot: logarithm of the amplitudes by 1/Å²")


def _resolution(files: RunFiles) -> Section:
    return Section(
        "Lower is better. Frequencies beyond “compared up to” had no part in finding the poses of that iteration.",
        figures.resolution_figure(files.iterations),
        "Resolution of the half-maps in each iteration",
    )


def _slices(files: RunFiles) -> Section:
    resolution = max(files.run["resolution"], 2 * files.map.pixel_size)
    whole = files.map if files.is_done else low_pass(files.map, resolution)
    halves = {f"half-map {half}": low_pass(each, resolution) for half, each in enumerate(files.halves, 1)}
    maps = {files.map_name: whole} | halves
    outline = " The orange line is the edge of the mask that the FSC was measured in." if files.mask else ""
    return Section(
        "Sections one voxel thick through the centre, white where the molecule is. What both half-maps show alike can "
        f"be trusted. They are filtered to the resolution, {resolution:.2f} Å, here, and not masked.{outline}",
        map_figures.slices_figure(maps, files.run["diameter"], files.mask),
        "Grey sections across z, y and x: a row for the map and a row for each half-map",
    )


def _local_resolution(files: RunFiles) -> Section | None:
    path = files.folder / "localres" / "localres.json"
    if not path.is_file():
        return None
    told = read_object(path, _LOCALRES_ADVICE)
    with fitting(path, _LOCALRES_ADVICE):
        low, middle, high = (float(told["quantiles"][share]) for share in ("5", "50", "95"))
        halves = " and ".join(f"`{Path(each).name}`" for each in told["half_maps"])
    pictures = (
        ("localres.png", "Sections across z, y and x, grey, and coloured by the local resolution"),
        ("localres_histogram.png", "Histogram of the volume by local resolution"),
    )
    images = [f'<img src="{embedded((path.parent / name).read_bytes())}" alt="{alt}">' for name, alt in pictures]
    return Section(
        f"How fine the map is in each place, as `pycryo localres` found it from {halves}: {low:.1f} Å in the best "
        f"places, {middle:.1f} Å in the median, {high:.1f} Å in the worst (of the voxels in the mask, without the "
        "outer 5 % at either end).",
        html="\n".join(images),
    )


def _views(files: RunFiles) -> Section:
    group, views = files.run["symmetry"], files.views
    spacing = bin_spacing(len(views))
    _, counts = sphere_bins(views, spacing)
    mates = f", each with its {group} mates, {len(views)} directions in all" if group != "C1" else ""
    return Section(
        f"From where the particles are seen: the whole sphere, flattened. {len(files.poses)} particles{mates}. A field "
        f"of about {spacing:.0f}° × {spacing:.0f}° has {len(views) / len(counts):.1f} of them if they are even, and "
        f"has {counts.min()} to {counts.max()}. Large dark areas are views that are missing: they blur the map along "
        "some directions. run_class001_angdist.bild shows the same around the map in ChimeraX.",
        figures.views_figure(views, group),
        "Map of the sphere of viewing directions, bright where there are many particles",
    )


def _poses(files: RunFiles) -> Section:
    return Section(
        "Both should fall. Spread: how uncertain a particle’s orientation is (standard deviation per axis of its "
        "posterior). Pose change: angle between the best poses of two iterations.",
        figures.poses_figure(files.iterations),
        "Spread of the orientations and shifts and change of the poses in each iteration",
    )


def _optics(files: RunFiles) -> Section | None:
    pictures = sorted(files.folder.glob(f"run_{PHASES}_*.png"))
    if not pictures:
        return None
    images = [
        f'<img src="{embedded(path.read_bytes())}" alt="{html.escape(path.stem)}: phases seen above, fitted below">'
        for path in pictures[:_MOST_GROUPS]
    ]
    more = len(pictures) - len(images)
    text = f"Errors of the microscope’s optics that were found before the final iteration. {PHASES_TEXT}"
    if more:
        text += f" {more} further groups have their pictures in the folder."
    return Section(text, html="\n".join(images))


def _classes(files: RunFiles) -> Section | None:
    if files.classes == 1:
        return None
    return Section(
        "How the images come apart. Other sections are of class 1 where they do not say otherwise. "
        "`pycryo select run_data.star --class K --out class.star` writes the particles of one class.",
        figures.classes_figure(files.iterations),
        "Share and resolution of the classes in each iteration",
    )


def _further_class(k: int) -> list[Part[RunFiles]]:
    def fsc(files: RunFiles) -> Section:
        return Section("", fsc_figure(files.curves_of(k), gaps=files.gaps), f"Fourier shell correlation of class {k}")

    def slices(files: RunFiles) -> Section:
        figure = map_figures.slices_figure({files.map_name: files.map_of(k)}, files.run["diameter"])
        return Section("", figure, f"Sections of the map of class {k}")

    return [
        Part(f"Class {k}: Fourier shell correlation", fsc),
        Part(f"Class {k}: sections through the map", slices),
    ]


def _defocus(files: RunFiles) -> Section | None:
    if not any(each.get("sigma_defocus") for each in files.iterations):
        return None
    return Section(
        "What the defocus stage added to rlnDefocusU and rlnDefocusV; run_data.star has the sums.",
        figures.defocus_figure(files.iterations),
        "Changes of the defocus in each iteration",
    )


def _scores(files: RunFiles) -> Section | None:
    threshold = files.run["particles"].get("suggested_threshold")
    if threshold is None:
        return None
    score = files.poses.values(["rlnParticleFigureOfMerit"])["rlnParticleFigureOfMerit"]
    return Section(
        scores.scores_text(files.run),
        scores.scores_figure(score, threshold),
        "Histogram of the images’ scores with the suggested threshold",
    )


def _timing(files: RunFiles) -> Section:
    return Section(
        "Where the time of rank 0 went. The numbers are below.",
        figures.timing_figure(files.iterations),
        "Seconds of each phase in each iteration",
    )


def _ranks(files: RunFiles) -> Section | None:
    parallel = ranks.with_ranks(files.iterations)
    if not parallel:
        return None
    return Section(
        ranks.ranks_text(parallel),
        ranks.ranks_figure(parallel),
        "Seconds of each rank, and the shares of waiting and hidden communication",
    )


PARTS: list[Part[RunFiles]] = [
    Part("The map in three dimensions", _surface, is_wide=True),
    Part("Fourier shell correlation of the half-maps", _fsc),
    Part("Resolution by iteration", _resolution),
    Part("Sections through the maps", _slices, is_wide=True),
    Part("Sharpened map", _sharpened),
    Part("Local resolution", _local_resolution, is_wide=True),
    Part("Directions of view", _views),
    Part("Certainty of the poses", _poses),
    Part("Phase errors of the optics groups", _optics, is_wide=True),
    Part("Classes", _classes, is_wide=True),
    Part("Defocus of the particles", _defocus),
    Part("Scores of the images", _scores),
    Part("Time (seconds, rank 0)", _timing),
    Part("Ranks", _ranks, is_wide=True),
]


def parts_of(files: RunFiles) -> list[Part[RunFiles]]:
    """`PARTS` with those of each class after the first."""
    place = next(number for number, part in enumerate(PARTS) if part.make is _classes) + 1
    further = [part for k in range(2, files.classes + 1) for part in _further_class(k)]
    return [*PARTS[:place], *further, *PARTS[place:]]
