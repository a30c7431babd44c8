"""`segx infer`: map scenes with a bundle."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ..options import (
    BackendFlag,
    BackendName,
    CudaFlag,
    EnginesFlag,
    OffsetFlag,
    RebuildFlag,
    RunFlags,
    SkipSelfTestFlag,
    TrustFlag,
    TtaFlag,
    TtaName,
)

if TYPE_CHECKING:
    from runtime.bundle import Bundle
    from runtime.ladder import Opened, RunRequest
    from runtime.scene import Scene
    from runtime.stream.options import InferOptions
    from runtime.stream.survey import Survey

NOT_WHOLE = 3
"""Exit code of a run whose maps have holes where the input is damaged."""


class MissingSatelliteName(str, Enum):
    """What to do where no Sentinel-2 date is clear."""

    nearest_dates = "nearest-dates"
    refuse = "refuse"
    aerial_only = "aerial-only"


def infer(
    source: Path = typer.Argument(
        ..., metavar="INPUT", help="GeoTIFF, folder of GeoTIFFs, scene folder or FLAIR #2 tree."
    ),
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle to run. Default: the newest verified one below this folder."),
    ] = None,
    satellite: Annotated[
        Path | None,
        typer.Option(
            help="Folder of S2_YYYYMMDD.tif files. Default: sentinel2 in or beside INPUT."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for maps and report.")] = Path("maps"),
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Also write the confidence.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write one probability band per class.")
    ] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="Also write what each pixel was mapped from.")
    ] = False,
    missing_satellite: Annotated[
        MissingSatelliteName,
        typer.Option(
            help="Where no Sentinel-2 date is clear: take the least covered, stop, or go without.",
        ),
    ] = MissingSatelliteName.nearest_dates,
    satellite_offset: OffsetFlag = "auto",
    satellite_lattice: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Run the satellite branch once per so many cells, not per tile; 0: as fits.",
        ),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(help="Bands of INPUT in the model's order, by number or name: 4,1,2,3."),
    ] = None,
    elevation: Annotated[
        str | None,
        typer.Option(
            help="Raster of heights above the ground, two as DSM,DTM, or zero, where INPUT has "
            "no such band."
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Where INPUT is of 16 bits: values that become 0 and 255, as LOW,HIGH, or "
            "percentiles, as 2%,98%."
        ),
    ] = None,
    crs: Annotated[
        str | None, typer.Option(help="CRS of INPUT where files name none: EPSG:2154.")
    ] = None,
    satellite_substitute: Annotated[
        str | None,
        typer.Option(help="Bands that stand for those that the series lacks: B8A=B08."),
    ] = None,
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Bring INPUT of another resolution to that of the model."),
    ] = False,
    blend: Annotated[
        bool,
        typer.Option("--blend", help="Blend overlapping tiles (Hann) instead of cropping them."),
    ] = False,
    tta: TtaFlag = TtaName.none,
    halo: Annotated[
        int | None,
        typer.Option(min=0, help="Context around a tile's interior, px. Default: the model's."),
    ] = None,
    max_memory: Annotated[str | None, typer.Option(help="Most memory to use: 2GB, 800MB.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Tiles per call. Default: 1 on a processor, 8 on a GPU."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Do not go on with a run that stopped.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what it takes, and stop.")
    ] = False,
    backend: BackendFlag = BackendName.auto,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads. Default: the backend's.")
    ] = None,
    cuda: CudaFlag = None,
    rebuild: RebuildFlag = None,
    engines: EnginesFlag = None,
    trust_engines: TrustFlag = False,
    skip_self_test: SkipSelfTestFlag = False,
    toy_ok: Annotated[
        bool, typer.Option("--toy-ok", help="Let a toy bundle map imagery that was not generated.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(help="Also write the report, or the plan, here.")
    ] = None,
) -> None:
    """Map land cover over aerial imagery with its Sentinel-2 series.

    A run that was stopped goes on when the same command is given again.

    Example: segx infer tiles/ --bundle bundles/lf-dlm-tiny-fp32.segx --confidence
    """
    from runtime.stream.options import InferOptions

    from .. import __version__
    from ..bundles import bundle_or_newest
    from ..sizes import parse_size

    flags = RunFlags(
        backend=backend,
        threads=threads,
        cuda=cuda,
        rebuild=rebuild,
        engines=engines,
        trust_engines=trust_engines,
        skip_self_test=skip_self_test,
    )
    options = InferOptions(
        confidence=confidence,
        probabilities=probabilities,
        quality=quality,
        blend=blend,
        halo=halo,
        bands=bands,
        elevation=elevation,
        scale=scale,
        crs=crs,
        satellite_substitute=satellite_substitute,
        resample=resample,
        missing_satellite=missing_satellite.value,
        satellite_offset=satellite_offset,
        lattice_cells=satellite_lattice,
        tta=tta.value,
        max_memory=None if max_memory is None else parse_size(max_memory),
        restart=restart,
        allow_toy=toy_ok,
        segx_version=__version__,
    )
    if satellite_lattice is not None and (batch or 1) > 1:
        raise typer.BadParameter(
            "a lattice of satellite windows takes one tile per call; leave one of them out",
            param_hint="--batch",
        )
    request = flags.request(variant=options.variant, batch=batch or options.batch)
    _map(_Input(source, satellite), bundle_or_newest(bundle), request, options, out, json, dry_run)


class _Input(NamedTuple):
    """What is to be mapped."""

    aerial: Path
    satellite: Path | None


def _map(
    given: _Input,
    path: Path,
    request: "RunRequest",
    options: "InferOptions",
    out: Path,
    json: Path | None,
    dry_run: bool,
) -> None:
    from contextlib import closing

    from runtime.bundle import open_bundle
    from runtime.energy import EnergyMeter
    from runtime.pipeline import map_survey
    from runtime.report import Clock
    from runtime.scene import find_scenes
    from runtime.stream.survey import make_survey

    from ..console import chosen, done, progress, write_json
    from ..infer_tables import print_fit, print_report
    from ..models import open_and_say, tally_of

    clock, bundle = Clock(), open_bundle(path)
    scenes = find_scenes(
        *given,
        needs_satellite=bundle.card.satellite is not None,
        may_lack=options.missing_satellite == "aerial-only",
        satellite_offset=options.satellite_offset,
        satellite_substitute=options.satellite_substitute,
        crs=options.crs,
    )
    _check_out(scenes, given.aerial, out)
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
            _forecast(survey, bundle, opened, json)
            return
        tally = tally_of(opened, clock)
        with progress("tiles") as advance, EnergyMeter(opened.choice.device) as tally.meter:
            report = map_survey(survey, opened.model, out, tally=tally, on_tile=advance)
    if json is not None:
        write_json(json, report)
    print_report(report)
    done(out, "open the maps in a GIS, or `segx bench`")
    if report.damaged:
        raise typer.Exit(NOT_WHOLE)


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


def _print_halo(asked: int | None, needed: int) -> None:
    if asked is not None and asked < needed:
        typer.echo(
            f"segx: warning: --halo {asked} is below the {needed} px that the model was measured "
            "to need; expected borders between tiles to show; leave --halo out",
            err=True,
        )


def _print_input(scenes: "list[Scene]", areas: int) -> None:
    from ..console import chosen

    joined = f"{areas} mosaic(s)" if areas < len(scenes) else ""
    chosen("input", f"{len(scenes)} aerial raster(s)", joined)
    series = sorted({scene.satellite.name for scene in scenes if scene.satellite is not None})
    if series:
        chosen("Sentinel-2", series[0] if len(series) == 1 else f"{len(series)} series")


def _forecast(survey: "Survey", bundle: "Bundle", opened: "Opened", json: Path | None) -> None:
    from runtime.model import golden_feed, repeated
    from runtime.stream.forecast import forecast
    from runtime.stream.summary import planned_memory

    from ..console import done, say, write_json
    from ..infer_tables import print_forecast

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
