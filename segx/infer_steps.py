"""What `segx infer` does once its options are read: here, or on a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from .shards import say_shard

if TYPE_CHECKING:
    from runtime.bundle import Bundle
    from runtime.card import TileRunner
    from runtime.ladder import Opened, RunRequest
    from runtime.pipeline import ShardResult
    from runtime.report import Report
    from runtime.scene import Scene
    from runtime.stream.afterwards import AfterMap
    from runtime.stream.options import InferOptions
    from runtime.stream.shards import Shard
    from runtime.stream.survey import Survey
    from runtime.tally import Tally

    from .console import Advance

NOT_WHOLE = 3
"""Exit code of a run whose maps have holes where the input is damaged."""


class Input(NamedTuple):
    """What is to be mapped."""

    aerial: Path
    satellite: Path | None


class Output(NamedTuple):
    """What is to be made."""

    folder: Path
    json: Path | None
    html: Path | None
    after: "AfterMap | None"
    shard: "Shard | None"


def map_here(
    given: Input,
    path: Path,
    request: "RunRequest",
    options: "InferOptions",
    out: Output,
    dry_run: bool,
) -> None:
    """Map in this process, all or a share; or say what that would take.

    Raises:
        SegxError: If the input does not fit, or a stage fails.
        typer.Exit: If the maps have holes.
    """
    from contextlib import closing

    from runtime.bundle import open_bundle
    from runtime.energy import EnergyMeter
    from runtime.report import Clock
    from runtime.stream.survey import make_survey

    from .console import chosen, progress
    from .infer_tables import print_fit
    from .models import open_and_say, tally_of
    from .scenes import scenes_of

    clock, bundle = Clock(), open_bundle(path)
    scenes = scenes_of(given.aerial, given.satellite, out.folder, bundle.card, options)
    survey = make_survey(scenes, bundle.card, options)
    if not bundle.manifest.verified:
        chosen("bundle", "not verified", bundle.manifest.verdict)
    _print_halo(options.halo, bundle.card.aerial.halo)
    opened = open_and_say(bundle, request)
    _print_input(scenes, len(survey.areas))
    print_fit(survey.fit)
    if options.tta != "none":
        chosen("test-time augmentation", options.tta, f"{options.runs_per_tile} runs per tile")
    with closing(opened.model):
        if dry_run:
            _forecast(survey, bundle, opened, out.json)
            return
        tally = tally_of(opened, clock)
        with progress("tiles") as advance, EnergyMeter(opened.choice.device) as tally.meter:
            result = _run(survey, opened.model, out, tally, advance)
    if out.shard is not None:
        say_shard(result, str(out.shard))
    _print_end(result.report, out)
    if out.html is not None and result.report is not None:
        _write_page(out.html, bundle, scenes, survey, result.report, out.folder)
    _end(result, out.folder)


def _run(
    survey: "Survey", model: "TileRunner", out: Output, tally: "Tally", advance: "Advance"
) -> "ShardResult":
    from runtime.pipeline import ShardResult, map_shard, map_survey

    if out.shard is None:
        report = map_survey(
            survey, model, out.folder, tally=tally, on_tile=advance, after=out.after
        )
        return ShardResult(report=report, left=0)
    return map_shard(
        survey, out.shard, model, out.folder, tally=tally, on_tile=advance, after=out.after
    )


def map_on_ray(
    given: Input,
    path: Path,
    request: "RunRequest",
    options: "InferOptions",
    out: Output,
    address: str,
    shards: int | None,
) -> None:
    """Map as tasks of a Ray cluster.

    Raises:
        SegxError: If the cluster or the input does not do, or a task fails.
        typer.Exit: If the maps have holes.
    """
    from dataclasses import replace

    from runtime.aerial.elevation import elevation_paths
    from runtime.output.workplace import forget_runs

    from .console import progress
    from .shards import ShardJob, run_all

    if options.restart:
        forget_runs(out.folder)
    heights = ",".join(str(path.absolute()) for path in elevation_paths(options.elevation))
    engines = request.policy.folder
    if engines is not None:
        policy = replace(request.policy, folder=engines.absolute())
        request = replace(request, policy=policy)
    job = ShardJob(
        bundle=path.absolute(),
        source=given.aerial.absolute(),
        satellite=None if given.satellite is None else given.satellite.absolute(),
        out=out.folder.absolute(),
        request=request,
        options=replace(options, restart=False, elevation=heights or options.elevation),
        after=out.after,
    )
    with progress("shards") as advance:
        result = run_all(job, address, shards, advance)
    _print_end(result.report, out)
    _end(result, out.folder)


def _print_end(report: "Report | None", out: Output) -> None:
    from .console import write_json
    from .infer_tables import print_report

    if report is not None:
        if out.json is not None:
            write_json(out.json, report)
        print_report(report)


def _end(result: "ShardResult", out: Path) -> None:
    from .console import done

    done(out, "the other shards" if result.left else "open the maps in a GIS, or `segx bench`")
    if result.report is not None and result.report.damaged:
        raise typer.Exit(NOT_WHOLE)


def _write_page(
    page: Path,
    bundle: "Bundle",
    scenes: "list[Scene]",
    survey: "Survey",
    report: "Report",
    maps: Path,
) -> None:
    from runtime.jsonfile import write_text

    from .console import done
    from .page.compose import infer_page
    from .page.trial import show_run

    pictures = show_run(scenes, survey, maps, label=report.bundle.name)
    write_text(page, infer_page(bundle, report, pictures))
    done(page)


def _print_halo(asked: int | None, needed: int) -> None:
    if asked is not None and asked < needed:
        typer.echo(
            f"segx: warning: --halo {asked} is below the {needed} px that the model was measured "
            "to need; expected borders between tiles to show; leave --halo out",
            err=True,
        )


def _print_input(scenes: "list[Scene]", areas: int) -> None:
    from .console import chosen

    joined = f"{areas} mosaic(s)" if areas < len(scenes) else ""
    chosen("input", f"{len(scenes)} aerial raster(s)", joined)
    series = sorted({scene.satellite.name for scene in scenes if scene.satellite is not None})
    if series:
        chosen("Sentinel-2", series[0] if len(series) == 1 else f"{len(series)} series")


def _forecast(survey: "Survey", bundle: "Bundle", opened: "Opened", json: Path | None) -> None:
    from runtime.model import golden_feed, repeated
    from runtime.stream.forecast import forecast
    from runtime.stream.summary import planned_memory

    from .console import done, say, write_json
    from .infer_tables import print_forecast

    model = opened.model
    batch = model.batch
    feed = repeated(golden_feed(bundle)[0], batch)
    found = forecast(survey, model, feed, planned_memory(survey, batch=batch), batch=batch)
    print_forecast(found)
    if json is not None:
        write_json(json, found)
        done(json, "the same command without --dry-run")
    else:
        say("nothing was written; next: the same command without --dry-run")
