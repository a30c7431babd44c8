"""`segx infer`: map scenes with a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..options import (
    BackendFlag,
    BackendName,
    CudaFlag,
    EnginesFlag,
    RebuildFlag,
    RunFlags,
    SkipSelfTestFlag,
    TrustFlag,
)

if TYPE_CHECKING:
    from runtime.report import Drift, Report
    from runtime.scene import Scene


def infer(
    source: Path = typer.Argument(
        ..., metavar="INPUT", help="GeoTIFF, folder of GeoTIFFs, scene folder or FLAIR #2 tree."
    ),
    bundle: Path | None = typer.Option(
        None, help="Bundle to run. Default: the newest verified one below this folder."
    ),
    satellite: Path | None = typer.Option(
        None, help="Folder of S2_YYYYMMDD.tif files. Default: sentinel2 in or beside INPUT."
    ),
    out: Path = typer.Option(Path("maps"), help="Folder for maps and report."),
    backend: BackendFlag = BackendName.auto,
    threads: int | None = typer.Option(None, min=1, help="Threads. Default: the backend's."),
    cuda: CudaFlag = None,
    rebuild: RebuildFlag = None,
    engines: EnginesFlag = None,
    trust_engines: TrustFlag = False,
    skip_self_test: SkipSelfTestFlag = False,
    confidence: bool = typer.Option(False, "--confidence", help="Also write the confidence."),
    probabilities: bool = typer.Option(
        False, "--probabilities", help="Also write one probability band per class."
    ),
    toy_ok: bool = typer.Option(
        False, "--toy-ok", help="Let a toy bundle map imagery that was not generated."
    ),
    json: Path | None = typer.Option(None, help="Also write the report to this file."),
) -> None:
    """Map land cover over aerial imagery with its Sentinel-2 series.

    Example: segx infer tiles/ --bundle bundles/lf-dlm-tiny-fp32.segx --confidence
    """
    from contextlib import closing

    from runtime.bundle import open_bundle
    from runtime.maps import MapOptions
    from runtime.pipeline import check_scenes
    from runtime.pipeline import infer as map_scenes
    from runtime.report import Clock
    from runtime.scene import find_scenes

    from .. import __version__
    from ..bundles import bundle_or_newest
    from ..console import chosen, done, progress, write_json
    from ..models import open_and_say, tally_of

    clock = Clock()
    flags = RunFlags(
        backend=backend,
        threads=threads,
        cuda=cuda,
        rebuild=rebuild,
        engines=engines,
        trust_engines=trust_engines,
        skip_self_test=skip_self_test,
    )
    request = flags.request(variant="probabilities" if probabilities else "classes")
    options = MapOptions(
        confidence=confidence,
        probabilities=probabilities,
        allow_toy=toy_ok,
        segx_version=__version__,
    )
    found = open_bundle(bundle_or_newest(bundle))
    scenes = find_scenes(source, satellite, needs_satellite=found.card.satellite is not None)
    check_scenes(scenes, found.card, options)
    if not found.manifest.verified:
        chosen("bundle", "not verified", found.manifest.verdict)
    opened = open_and_say(found, request)
    _print_input(scenes)
    with closing(opened.model), progress("tiles") as advance:
        report = map_scenes(
            scenes,
            found.card,
            opened.model,
            out,
            tally=tally_of(opened, clock),
            options=options,
            on_tile=advance,
        )
    for path in {out / "report.json", json or out / "report.json"}:
        write_json(path, report)
    _print_report(report)
    done(out, "open the maps in a GIS, or `segx bench`")


def _print_input(scenes: "list[Scene]") -> None:
    from ..console import chosen

    chosen("input", f"{len(scenes)} aerial raster(s)")
    series = sorted({scene.satellite.name for scene in scenes if scene.satellite is not None})
    if series:
        chosen("Sentinel-2", series[0] if len(series) == 1 else f"{len(series)} series")


def _print_report(report: "Report") -> None:
    from ..console import chosen

    if report.satellite is not None:
        used = f"{report.satellite.dates_used} of {report.satellite.dates_total}"
        chosen("Sentinel-2 dates used", used, report.satellite.policy)
    if report.drift is not None:
        _print_drift(report.drift, report.tiles)
    chosen(
        "done",
        f"{report.tiles} tiles, {report.area_km2:.3f} km2 in {report.wall_s:.1f} s "
        f"({report.km2_per_h:.1f} km2/h, {report.peak_rss_mib:.0f} MiB)",
    )


def _print_drift(drift: "Drift", tiles: int) -> None:
    from runtime.drift import MOST_OUTSIDE

    from ..console import chosen

    outside = f"{drift.tiles_outside} of {tiles} tiles, {drift.share:.0%}"
    chosen("unlike the calibration set", outside, ", ".join(drift.bands))
    if drift.share > MOST_OUTSIDE:
        typer.echo(
            f"segx: warning: {drift.share:.0%} of the tiles are unlike those that the bundle was "
            f"calibrated on; expected {MOST_OUTSIDE:.0%} at most; check bands and units of the "
            "input, or calibrate on such imagery",
            err=True,
        )
