"""Find what is to be mapped, for the command and for Python."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.card import ModelCard
    from runtime.scene import Scene
    from runtime.stream.options import InferOptions


def scenes_of(
    source: Path,
    satellite: Path | None,
    out: Path,
    card: "ModelCard",
    options: "InferOptions",
) -> "list[Scene]":
    """Find the aerial rasters of an input and the series that belong to them.

    Args:
        source: A GeoTIFF, a scene folder, a FLAIR #2 tree or a folder of GeoTIFFs.
        satellite: Folder of the series; beside or in `source` if None.
        out: Folder for the maps.
        card: What to know of the model.
        options: How the input is made to fit.

    Raises:
        ConfigError: If the maps would lie among the images, or an option cannot be understood.
        DataError: If something is missing or damaged.
    """
    from runtime.scene import find_scenes

    scenes = find_scenes(
        source,
        satellite,
        needs_satellite=card.satellite is not None,
        may_lack=options.missing_satellite == "aerial-only",
        satellite_offset=options.satellite_offset,
        satellite_substitute=options.satellite_substitute,
        crs=options.crs,
    )
    _check_out(scenes, source, out)
    return scenes


def _check_out(scenes: "list[Scene]", source: Path, out: Path) -> None:
    """Refuse to write maps where the next run would take them for images."""
    from runtime.errors import ConfigError

    if len(scenes) > 1 or scenes[0].alone:
        folders = {scene.aerial.parent.resolve() for scene in scenes}
        if source.is_dir() and (
            {out.resolve(), *out.resolve().parents} & {*folders, source.resolve()}
        ):
            raise ConfigError(
                f"--out {out} lies in {source}, whose images are mapped; expected a folder outside "
                "it, since maps are images too; choose another --out"
            )
