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

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .augmented import augmented
from .card import ModelCard, TileRunner
from .errors import BusyError
from .jsonfile import write_json
from .output.workplace import Workplace, shard_is_done
from .raster import block_cache
from .report import Report
from .scene import Scene
from .stream.afterwards import AfterMap, make_after
from .stream.dates_used import DatesUsed
from .stream.identity import identity_of, tags_of
from .stream.jobs import Job, make_jobs
from .stream.mapset import MapSet
from .stream.memory import GDAL_CACHE, QUEUES
from .stream.options import InferOptions
from .stream.run import ModelStage
from .stream.satellite_once import satellite_once
from .stream.seams import SeamCount
from .stream.shards import Shard
from .stream.stages import Stages
from .stream.stitch import finish_sheets, write_tiles
from .stream.summary import planned_memory, sum_up
from .stream.survey import Survey, make_survey
from .stream.targets import Notes, Store
from .stream.tiles import prepare_tiles, read_tiles
from .tally import Tally

REPORT_NAME = "report.json"
"""File beside the maps."""
SHARE = "share"
"""Note of a shard that is done: what its tally holds."""

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
    after: AfterMap | None = None,
) -> Report:
    """Write the maps of a survey, or go on with those of an interrupted run of the same.

    Args:
        survey: What to map.
        model: The model; one that ends in probabilities where the options ask for those or for
            test-time augmentation, which is done here.
        out: Folder for the maps.
        tally: Made when the run began.
        on_tile: Called after every tile.
        after: Makes something of every class map when all maps are finished.

    Raises:
        ConfigError: If the memory that is allowed is too little.
        DataError: If the folder holds an interrupted run of another survey, an input vanished, a
            tile has no usable satellite data and may not go without, or the disk does not take the
            maps.
    """
    run = _Run(survey, model, tally)
    with (
        block_cache(GDAL_CACHE),
        Workplace(out, run.identity, restart=survey.options.restart) as work,
    ):
        shares = [note for note in work.notes if SHARE in note]
        tally.run, tally.resumed = work.digest, work.resumed or len(shares) < work.shards
        maps = run.map(work, on_tile)
        for note in shares:
            run.take_in(note, maps)
        report = run.report(maps)
        if after is not None:
            report = make_after(report, maps, work, after)
        write_json(out / REPORT_NAME, report)
        work.finish()
    return report


class ShardResult(NamedTuple):
    """What became of a shard."""

    report: Report | None
    """Of the whole run if this shard was the last, else of the shard; None where the maps of the
    whole run were complete before."""
    left: int
    """Shards that are not done yet."""


def map_shard(
    survey: Survey,
    shard: Shard,
    model: TileRunner,
    out: Path,
    *,
    tally: Tally,
    on_tile: OnTile = lambda done, total: None,
    after: AfterMap | None = None,
) -> ShardResult:
    """Write one share of the maps of a survey; the last shard puts all of them together.

    A shard that was interrupted goes on, and one that is done is not run again.

    Args:
        survey: What to map, the same for every shard.
        shard: Which share of it.
        model: See `map_survey`.
        out: Folder for the maps, the same for every shard.
        tally: Made when the run began.
        on_tile: Called after every tile.
        after: See `map_survey`; called by the last shard for all maps.

    Raises:
        BusyError: If a run of the whole, or this shard, is at work there.
        SegxError: As `map_survey`.
    """
    run = _Run(survey, model, tally)
    number = shard.index, shard.count
    with (
        block_cache(GDAL_CACHE),
        Workplace(out, run.identity, restart=survey.options.restart, shard=number) as work,
    ):
        if not survey.options.restart and _is_complete(out, work.digest):
            return ShardResult(report=None, left=0)
        tally.run, tally.resumed, tally.shard = work.digest, work.resumed, str(shard)
        before = [note for note in work.notes if SHARE in note]
        maps = run.map(work, on_tile, shard)
        for note in before:
            run.take_in(note, maps)
        tally.shards = 0
        report = run.report(maps)
        if not before:
            seams = SeamCount.total(maps.seams)
            work.note({SHARE: tally.as_note(), "seams": [seams.pixels, seams.differing]})
        work.finish()
    left = sum(not shard_is_done(out, index, shard.count) for index in range(1, shard.count + 1))
    if left:
        return ShardResult(report=report, left=left)
    survey = replace(survey, options=replace(survey.options, restart=False))
    whole = Tally(tally.backend, self_test=tally.self_test)
    try:
        return ShardResult(report=map_survey(survey, model, out, tally=whole, after=after), left=0)
    except BusyError:  # another one came last too, and was faster
        return ShardResult(report=report, left=0)


def _is_complete(out: Path, run: str) -> bool:
    """Whether a folder holds all maps of a run, by their report."""
    try:
        told = json.loads((out / REPORT_NAME).read_bytes())
        return told["run"] == run and all(
            (out / Path(path).name).is_file() for path in told["outputs"]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


class _Run:
    """A survey, the model that maps it, and the tally that counts."""

    def __init__(self, survey: Survey, model: TileRunner, tally: Tally) -> None:
        self._survey, self._tally = survey, tally
        self._model = model = augmented(model, survey.options.tta)
        self._memory = planned_memory(survey, batch=model.batch)
        self._tags = [
            tags_of(survey, area, backend=tally.backend_name, precision=model.precision)
            for area in survey.areas
        ]
        self.identity = identity_of(survey, self._tags, batch=model.batch)
        tally.runs_per_tile = survey.options.runs_per_tile

    def map(self, work: Store, on_tile: OnTile, shard: Shard | None = None) -> MapSet:
        """Run all that is missing through the stages."""
        dates = DatesUsed(work, self._tally)
        maps = MapSet(self._survey, work, self._tags, self._tally, dates, shard)
        jobs = make_jobs(self._survey.areas, maps.sheets, self._memory.strip_tiles)
        maps.expect(jobs)
        run_jobs(jobs, self._survey, self._model, maps, work, on_tile=on_tile)
        return maps

    def take_in(self, note: Mapping[str, Any], maps: MapSet) -> None:
        """Count in what a shard noted when it was done."""
        self._tally.absorb(note[SHARE])
        pixels, differing = note["seams"]
        maps.seams.append(SeamCount(pixels=pixels, differing=differing))

    def report(self, maps: MapSet) -> Report:
        """Sum up."""
        model = self._model
        return sum_up(
            self._survey,
            maps,
            self._memory,
            self._tally,
            precision=model.precision,
            batch=model.batch,
        )


def run_jobs(
    jobs: Sequence[Job],
    survey: Survey,
    model: TileRunner,
    maps: MapSet,
    notes: Notes,
    *,
    on_tile: OnTile = lambda done, total: None,
) -> None:
    """Run strips through the stages.

    Args:
        jobs: What is missing.
        survey: What it is a part of.
        model: The model, mirrored tiles included.
        maps: Takes the results.
        notes: Takes what must be known again.
        on_tile: Called after every tile.

    Raises:
        SegxError: If a stage fails.
    """
    card, tally, batch = survey.card, maps.tally, model.batch
    total = sum(job.tile_count for job in jobs)
    once = satellite_once(survey, model, tally, tiles=total)
    with Stages(tally.clock) as stages:
        read = read_tiles(jobs, tally, notes)
        tiles = stages.start("read", read, depth=QUEUES["read"] * batch)
        prepare = prepare_tiles(tiles, card, survey.options, tally)
        ready = stages.start("prepare", prepare, depth=QUEUES["prepare"] * batch)
        run = ModelStage(model, card, tally, maps.dates, once=once).run(ready)
        ran = stages.start("infer", run, depth=QUEUES["infer"] * batch)
        write = stages.start("write", write_tiles(ran, maps), depth=QUEUES["write"])
        finish = stages.start("finish", finish_sheets(write, maps), depth=QUEUES["finish"])
        for done, _ in enumerate(finish, start=1):
            on_tile(done, total)
