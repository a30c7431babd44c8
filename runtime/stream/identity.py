"""Say what a run is made of: in the tags of its maps, and to know it again when it goes on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..aerial.elevation import elevation_paths
from ..errors import DataError, brief
from ..manifest import Accuracy
from ..output.kinds import MapTags, class_tags
from ..report import FIT_NAMES
from ..satellite_lattice import default_step
from .survey import Area, Survey


def tags_of(survey: Survey, area: Area, *, backend: str, precision: str) -> MapTags:
    """Tags that say which model made a map, and how.

    Args:
        survey: What is mapped.
        area: The part of it that the map lies in.
        backend: Library that runs the model.
        precision: What it computes in.
    """
    card, options, plan, fit = survey.card, survey.options, area.plan, area.fit
    file = {
        "SEGX_VERSION": options.segx_version,
        "SEGX_BUNDLE": card.name,
        "SEGX_BUNDLE_SHA256": card.sha256,
        "SEGX_BACKEND": backend,
        "SEGX_PRECISION": precision,
        "SEGX_VERIFIED": str(card.verified).lower(),
        "SEGX_TILES": f"{plan.size} px, halo {plan.margin} px",
        "SEGX_SEAMS": "blended" if options.blend else "cropped",
    }
    if card.accuracy is not None:
        file["SEGX_ACCURACY"] = _accuracy_text(card.accuracy)
    if card.toy:
        file["SEGX_TOY"] = "trained on generated imagery only; of use for nothing else"
    if card.satellite is not None:
        file["SEGX_MISSING_SATELLITE"] = options.missing_satellite
        if options.satellite_offset != "auto":
            file["SEGX_SATELLITE_OFFSET"] = options.satellite_offset
    if options.lattice_cells is not None and card.satellite is not None:
        cells = options.lattice_cells or default_step(card.aerial, card.satellite)
        file["SEGX_SATELLITE_LATTICE"] = f"{cells} cells"
    if options.tta != "none":
        file["SEGX_TTA"] = f"{options.tta}, {options.runs_per_tile} runs per tile"
    for name in FIT_NAMES:
        if (text := getattr(fit, name)) is not None:
            file[f"SEGX_{name.upper()}"] = text
    return MapTags(file=file, band=class_tags(card.classes))


def identity_of(survey: Survey, tags: Sequence[MapTags], *, batch: int) -> dict[str, object]:
    """All that the pixels of the maps depend on; not how a run shares out its work.

    Args:
        survey: What is mapped.
        tags: Tags of the maps of every area.
        batch: Tiles per call of the model: libraries may round otherwise for another one.

    Raises:
        DataError: If an input has vanished.
    """
    options = survey.options
    sources = {file.path for file in survey.files}
    sources.update(side for path in list(sources) for side in sidecars(path))
    for area in survey.areas:
        if area.mosaic.satellite is not None:
            sources.update(area.mosaic.satellite.source_files())
    sources.update(elevation_paths(options.elevation))
    return {
        "tags": [dict(item.file) for item in tags],
        "tiles per call": batch,
        "maps": [
            *(options.confidence, options.probabilities, options.writes_quality),
            *(options.margin, options.disagreement),
        ],
        "options": [
            *(options.bands, options.elevation, options.resample),
            *(options.scale, options.crs, options.satellite_substitute),
        ],
        "tiles": [[*area.plan.shape, *area.plan.origin, area.plan.halo] for area in survey.areas],
        "files": {str(path): _state(path) for path in sorted(sources)},
    }


def sidecars(path: Path) -> Iterator[Path]:
    """Files beside a raster that say where it lies or which of its pixels hold data."""
    names = [path.with_name(path.name + ending) for ending in (".msk", ".aux.xml", ".ovr")]
    for side in (*names, path.with_suffix(".tfw")):
        if side.is_file():
            yield side


def _accuracy_text(found: Accuracy) -> str:
    """Say what was measured, on what, and with which library and precision."""
    executed = f", {found.executed}" if found.executed else ""
    return (
        f"mIoU {100 * found.miou:.2f} % of {found.scored_classes} classes, {found.patches} patches "
        f"of {found.dataset} ({found.split}){executed}"
    )


def _state(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(
            f"{path} is not there any more ({brief(error)}); expected it as it was; put it back "
            "and run the same command again"
        ) from error
    return [found.st_size, found.st_mtime_ns]
