"""What `segx infer` does once its options are read: here, or on a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from .shards import say_shard

if TYPE_CHECKING:
    from runtime.bundle import Bundle
    from runtime.ladder import Opened, RunRequest
    from runtime.mapping import MapRequest
    from runtime.pipeline import ShardResult
    from runtime.report import Report
    from runtime.stream.survey import Survey

NOT_WHOLE = 3
"""Exit code of a run whose maps have holes where the input is damaged."""


class Reports(NamedTuple):
    """Where what is said of a run goes, beside the terminal."""

    json: Path | None
    html: Path | None


def map_here(
    wanted: "MapRequest", path: Path, request: "RunRequest", reports: Reports, *, dry_run: bool
) -> None:
    """Map in this process, all or a share; or say what that would take.

    Args:
        wanted: What is to be mapped, and into what.
        path: The bundle.
        request: How it is opened.
        reports: What else is written.
        dry_run: Say what it would take, and write no map.

    Raises:
        SegxError: If the input does not fit, or a stage fails.
        typer.Exit: If the maps have holes.
    """
    from contextlib import closing

    from runtime.bundle import open_bundle
    from runtime.report import Clock

    from .console import chosen, progress
    from .infer_tables import print_fit
    from .models import open_and_say

    clock, bundle = Clock(), open_bundle(path)
    survey, options = wanted.survey(bundle.card), wanted.options
    if not bundle.manifest.verified:
        chosen("bundle", "not verified", bundle.manifest.verdict)
    _print_halo(options.halo, bundle.card.aerial.halo)
    opened = open_and_say(bundle, request)
    _print_input(survey)
    print_fit(survey.fit)
    if options.tta != "none":
        chosen("test-time augmentation", options.tta, f"{options.runs_per_tile} runs per tile")
    with closing(opened.model):
        if dry_run:
            _forecast(survey, bundle, opened, reports.json)
            return
        with progress("tiles") as advance:
            result = wanted.run(survey, opened, clock, on_tile=advance)
    if wanted.shard is not None:
        say_shard(result, str(wanted.shard))
    _print_end(result.report, reports)
    if reports.html is not None and result.report is not None:
        _write_page(reports.html, bundle, survey, result.report, wanted.out)
    _end(result, wanted.out)


def map_on_ray(
    wanted: "MapRequest",
    path: Path,
    request: "RunRequest",
    reports: Reports,
    *,
    address: str,
    shards: int | None,
) -> None:
    """Map as tasks of a Ray cluster.

    Args:
        wanted: What is to be mapped, and into what.
        path: The bundle.
        request: How it is opened.
        reports: What else is written.
        address: Address of the cluster; `local` starts one on this machine.
        shards: Number of shards; None: as suits the cluster.

    Raises:
        SegxError: If the cluster or the input does not do, or a task fails.
        typer.Exit: If the maps have holes.
    """
    from dataclasses import replace

    from runtime.aerial.elevation import elevation_paths
    from runtime.output.workplace import forget_runs

    from .console import chosen, progress
    from .shards import ShardJob, run_all

    options = wanted.options
    if options.restart:
        forget_runs(wanted.out)
    heights = ",".join(str(path.absolute()) for path in elevation_paths(options.elevation))
    engines = request.policy.folder
    if engines is not None:
        policy = replace(request.policy, folder=engines.absolute())
        request = replace(request, policy=policy)
    everywhere = replace(
        wanted,
        source=wanted.source.absolute(),
        satellite=None if wanted.satellite is None else wanted.satellite.absolute(),
        out=wanted.out.absolute(),
        options=replace(options, restart=False, elevation=heights or options.elevation),
    )
    job = ShardJob(bundle=path.absolute(), request=request, wanted=everywhere)
    with progress("shards") as advance:
        result = run_all(job, address, shards, advance)
    if result.report is None:
        chosen("maps", "complete", "those of all shards were so before; nothing to do")
    _print_end(result.report, reports)
    _end(result, wanted.out)


def _print_end(report: "Report | None", reports: Reports) -> None:
    from .console import write_json
    from .infer_tables import print_report

    if report is not None:
        if reports.json is not None:
            write_json(reports.json, report)
        print_report(report)


def _end(result: "ShardResult", out: Path) -> None:
    from .console import done

    done(out, "the other shards" if result.left else "open the maps in a GIS, or `segx bench`")
    if result.report is not None and result.report.damaged:
        raise typer.Exit(NOT_WHOLE)


def _write_page(
    page: Path, bundle: "Bundle", survey: "Survey", report: "Report", maps: Path
) -> None:
    from runtime.files import write_text

    from .console import done
    from .page.compose import infer_page
    from .page.trial import show_run

    pictures = show_run(survey, maps, label=report.bundle.name)
    write_text(page, infer_page(bundle, report, pictures))
    done(page)


def _print_halo(asked: int | None, needed: int) -> None:
    if asked is not None and asked < needed:
        typer.echo(
            f"segx: warning: --halo {asked} is below the {needed} px that the model was measured "
            "to need; expected borders between tiles to show; leave --halo out",
            err=True,
        )


def _print_input(survey: "Survey") -> None:
    from .console import chosen

    files, areas = len(survey.files), len(survey.areas)
    joined = f"{areas} mosaic(s)" if areas < files else ""
    chosen("input", f"{files} aerial raster(s)", joined)
    mosaics = [area.mosaic for area in survey.areas]
    series = sorted({item.satellite.name for item in mosaics if item.satellite is not None})
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
