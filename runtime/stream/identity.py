"""Say what a run is made of: in the tags of its maps, and to know it again when it goes on."""

from pathlib import Path

from ..output.kinds import MapTags, class_tags
from ..satellite_lattice import default_step
from .survey import Survey


def tags_of(survey: Survey, *, backend: str, precision: str) -> MapTags:
    """Tags that say which model made a map, and how.

    Args:
        survey: What is mapped.
        backend: Library that runs the model.
        precision: What it computes in.
    """
    card, options, plan = survey.card, survey.options, survey.areas[0].plan
    file = {
        "SEGX_VERSION": options.segx_version,
        "SEGX_BUNDLE": card.name,
        "SEGX_BUNDLE_SHA256": card.sha256,
        "SEGX_BACKEND": backend,
        "SEGX_PRECISION": precision,
        "SEGX_VERIFIED": str(card.verified).lower(),
        "SEGX_TILES": f"{plan.size} px, halo {plan.halo} px",
        "SEGX_SEAMS": "blended" if options.blend else "cropped",
    }
    if card.toy:
        file["SEGX_TOY"] = "trained on generated imagery only; of use for nothing else"
    if card.satellite is not None:
        file["SEGX_MISSING_SATELLITE"] = options.missing_satellite
    if options.lattice_cells is not None and card.satellite is not None:
        cells = options.lattice_cells or default_step(card.aerial, card.satellite)
        file["SEGX_SATELLITE_LATTICE"] = f"{cells} cells"
    fit = survey.fit
    for name, text in (("RESAMPLED", fit.resampled), ("BANDS", fit.bands)):
        if text is not None:
            file[f"SEGX_{name}"] = text
    if fit.elevation is not None:
        file["SEGX_ELEVATION"] = fit.elevation
    return MapTags(file=file, band=class_tags(card.classes))


def identity_of(survey: Survey, tags: MapTags) -> dict[str, object]:
    """All that the pixels of the maps depend on; not how a run shares out its work.

    Args:
        survey: What is mapped.
        tags: Tags of the maps.
    """
    options = survey.options
    sources = {file.path for file in survey.files}
    for area in survey.areas:
        if area.mosaic.satellite is not None:
            sources.update(area.mosaic.satellite.source_files())
    if options.elevation is not None and Path(options.elevation).is_file():
        sources.add(Path(options.elevation))
    return {
        **tags.file,
        "maps": [options.confidence, options.probabilities, options.writes_quality],
        "options": [options.bands, options.elevation, options.resample],
        "tiles": [[*area.plan.shape, *area.plan.origin, area.plan.halo] for area in survey.areas],
        "files": {str(path): _state(path) for path in sorted(sources)},
    }


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
