"""Map scenes with a model: read, infer and write tile by tile, and report what it took.

    for every scene     check that it fits the model
    for every tile      read its aerial pixels   -> uint8 (C, H, W), mirrored beyond the raster
                        prepare its satellite    -> reflectance (12, B, h, w), date mask, days
                        run the parts            -> classes and confidence of the tile
                        write its interior       -> the map, on exactly the aerial grid

An error leaves no unfinished map behind.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from .card import ModelCard, Runnable
from .errors import BundleError
from .maps import MapOptions, MapSet, map_kinds, map_tags, refuse_clashes, tile_maps
from .model import make_feed
from .raster import RasterReader, read_reflected
from .report import Report
from .satellite import SatelliteInput
from .scene import Scene, check_fit
from .tally import Tally
from .tiler import Tile, TilePlan

SAMPLE_TAG = "SEGX_SAMPLE"
"""Tag of generated imagery; a toy bundle takes no other."""

OnTile = Callable[[int, int], None]
"""Called with the tiles done and the tiles in all."""


def infer(
    scenes: Sequence[Scene],
    card: ModelCard,
    model: Runnable,
    out: Path,
    *,
    tally: Tally,
    options: MapOptions,
    on_tile: OnTile = lambda done, total: None,
) -> Report:
    """Write the land-cover map of every scene.

    Args:
        scenes: What to map.
        card: What to know of the model.
        model: The model; one that ends in probabilities where those are asked for.
        out: Folder for the maps.
        tally: Made when the run began, so that the cold start is counted.
        options: What to write.
        on_tile: Called after every tile.

    Raises:
        DataError: If an input is missing, damaged or does not fit; no unfinished map is left.
        BundleError: If a toy bundle meets real imagery.
    """
    plans = check_scenes(scenes, card, options)
    total = sum(map(len, plans))
    for scene, plan in zip(scenes, plans, strict=True):
        kinds, tags = map_kinds(card, options), map_tags(card, model.precision, options)
        with (
            scene.open() as reader,
            MapSet(out, scene.aerial.stem, reader.info.grid, kinds, tags) as maps,
        ):
            for tile in plan:
                _map_tile(tile, reader, scene, card, model, maps, tally)
                on_tile(tally.tiles + tally.empty_tiles, total)
            with tally.clock("write"):
                maps.finish()
        tally.add_scene(reader.info.grid, maps.paths)
    return tally.report(card, model.precision, options.segx_version)


def check_scenes(scenes: Sequence[Scene], card: ModelCard, options: MapOptions) -> list[TilePlan]:
    """Check that every scene fits a model, and plan its tiles.

    Raises:
        DataError: If an input is missing, damaged or does not fit, or maps would clash.
        BundleError: If a toy bundle meets real imagery.
    """
    refuse_clashes([scene.aerial for scene in scenes])
    return [_plan(scene, card, options) for scene in scenes]


def _map_tile(
    tile: Tile,
    reader: RasterReader,
    scene: Scene,
    card: ModelCard,
    model: Runnable,
    maps: MapSet,
    tally: Tally,
) -> None:
    """Read, prepare, run and write one tile; one without any aerial data is only written."""
    size = card.aerial.tile_size
    with tally.clock("read"):
        aerial, valid = read_reflected(reader, tile.row, tile.col, size, size)
    if not valid[tile.source].any():
        with tally.clock("write"):
            maps.write_nodata(tile)
        tally.empty_tiles += 1
        return
    with tally.clock("prepare"):
        satellite = _prepare(tile, reader, scene, card)
        feed = make_feed([aerial], None if satellite is None else [satellite])
        ranges = card.input_ranges
        outside = () if ranges is None else ranges.outside(feed, valid)
    with tally.clock("infer"):
        result = model.run(feed)
    tally.add_tile(scene, satellite, outside)
    with tally.clock("write"):
        maps.write(tile, tile_maps(result), valid)


def _prepare(
    tile: Tile, reader: RasterReader, scene: Scene, card: ModelCard
) -> SatelliteInput | None:
    spec = card.satellite
    if spec is None or scene.satellite is None:
        return None
    half = card.aerial.tile_size / 2
    return scene.satellite.prepare(reader.info.grid, tile.row + half, tile.col + half, spec)


def _plan(scene: Scene, card: ModelCard, options: MapOptions) -> TilePlan:
    spec = card.aerial
    with scene.open() as reader:
        info = reader.info
    check_fit(scene, info, spec)
    if card.toy and SAMPLE_TAG not in info.tags and not options.allow_toy:
        raise BundleError(
            f"{card.name} is a toy for generated imagery; expected that, and {scene.aerial} is not "
            "generated; train a model on your data, or pass --toy-ok to see a map without meaning"
        )
    return TilePlan(shape=info.grid.shape, size=spec.tile_size, halo=spec.halo)
