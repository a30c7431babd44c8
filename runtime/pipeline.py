"""Map scenes with a model: four stages side by side, and a report of what they took.

    survey     check the input, join files into mosaics, lay the lattice of tiles
    resume     what an interrupted run has written is kept
    read       aerial pixels of every tile   -> uint8 (C, H, W), mirrored beyond the mosaic
    prepare    its satellite                 -> reflectance (12, B, h, w), date mask, days
    infer      the parts of the model        -> classes and confidence, or probabilities
    write      interiors, or blended tiles   -> whole block rows of every file's maps
    finish     a file's maps                 -> Cloud Optimized GeoTIFFs under their final names

An error in any stage stops all; what was written waits for the same command to go on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from .augmented import augmented
from .card import ModelCard, TileRunner
from .jsonfile import write_json
from .output.workplace import Workplace
from .raster import block_cache
from .report import Report
from .scene import Scene
from .stream.identity import identity_of, tags_of
from .stream.jobs import make_jobs
from .stream.mapset import MapSet
from .stream.memory import GDAL_CACHE, QUEUES
from .stream.options import InferOptions
from .stream.run import ModelStage
from .stream.satellite_once import satellite_once
from .stream.stages import Stages
from .stream.stitch import finish_sheets, write_tiles
from .stream.summary import planned_memory, sum_up
from .stream.survey import Survey, make_survey
from .stream.tiles import prepare_tiles, read_tiles
from .tally import Tally

REPORT_NAME = "report.json"
"""File beside the maps."""

OnTile = Callable[[int, int], None]
"""Called with the tiles done and the tiles in all."""


def infer(
    scenes: Sequence[Scene],
    card: ModelCard,
    model: TileRunner,
    out: Path,
    *,
    tally: Tally,
    options: InferOptions,
    on_tile: OnTile = lambda done, total: None,
) -> Report:
    """Write the land-cover map of every scene; see `map_survey`.

    Args:
        scenes: What to map.
        card: What to know of the model.
        model: The model; one that ends in probabilities where the options ask for those.
        out: Folder for the maps.
        tally: Made when the run began, so that the cold start is counted.
        options: What to write, and how.
        on_tile: Called after every tile.

    Raises:
        SegxError: If an input is missing or does not fit, or a stage fails.
    """
    return map_survey(make_survey(scenes, card, options), model, out, tally=tally, on_tile=on_tile)


def map_survey(
    survey: Survey,
    model: TileRunner,
    out: Path,
    *,
    tally: Tally,
    on_tile: OnTile = lambda done, total: None,
) -> Report:
    """Write the maps of a survey, or go on with those of an interrupted run of the same.

    Args:
        survey: What to map.
        model: The model; one that ends in probabilities where the options ask for those or for
            test-time augmentation, which is done here.
        out: Folder for the maps.
        tally: Made when the run began.
        on_tile: Called after every tile.

    Raises:
        ConfigError: If the memory that is allowed is too little.
        DataError: If the folder holds an interrupted run of another survey, an input vanished, a
            tile has no usable satellite data and may not go without, or the disk does not take the
            maps.
    """
    model = augmented(model, survey.options.tta)
    tally.runs_per_tile = survey.options.runs_per_tile
    batch = model.batch
    memory = planned_memory(survey, batch=batch)
    tags = [
        tags_of(survey, area, backend=tally.backend_name, precision=model.precision)
        for area in survey.areas
    ]
    identity = identity_of(survey, tags, batch=batch)
    with (
        block_cache(GDAL_CACHE),
        Workplace(out, identity, restart=survey.options.restart) as work,
    ):
        tally.resumed = work.resumed
        maps = MapSet(survey, work, tags, tally)
        jobs = make_jobs(survey.areas, maps.sheets, memory.strip_tiles)
        maps.expect(jobs)
        total = sum(1 for job in jobs for _ in job.tiles())
        once = satellite_once(survey, model, tally, tiles=total)
        with Stages(tally.clock) as stages:
            read = read_tiles(jobs, tally, work)
            tiles = stages.start("read", read, depth=QUEUES["read"] * batch)
            prepare = prepare_tiles(tiles, survey.card, survey.options, tally, work)
            ready = stages.start("prepare", prepare, depth=QUEUES["prepare"] * batch)
            run = ModelStage(model, survey.card, tally, once=once).run(ready)
            ran = stages.start("infer", run, depth=QUEUES["infer"] * batch)
            write = stages.start("write", write_tiles(ran, maps), depth=QUEUES["write"])
            finish = stages.start("finish", finish_sheets(write, maps), depth=QUEUES["finish"])
            for done, _ in enumerate(finish, start=1):
                on_tile(done, total)
        report = sum_up(survey, maps, memory, tally, precision=model.precision, batch=batch)
        write_json(out / REPORT_NAME, report)
        work.finish()
    return report
