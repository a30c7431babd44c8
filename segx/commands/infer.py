"""`segx infer`: map scenes with a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..options import BackendName

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
    backend: BackendName = typer.Option(BackendName.auto, help="Library that runs the bundle."),
    threads: int | None = typer.Option(None, min=1, help="Threads. Default: the backend's."),
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
    from runtime.backends import choose_backend
    from runtime.bundle import open_bundle
    from runtime.maps import MapOptions
    from runtime.model import open_model
    from runtime.pipeline import infer as map_scenes
    from runtime.scene import find_scenes
    from runtime.tally import Tally

    from .. import __version__
    from ..bundles import bundle_or_newest
    from ..console import chosen, done, progress, write_json

    choice = choose_backend(backend.value)
    tally = Tally(choice)
    opened = open_bundle(bundle_or_newest(bundle))
    scenes = find_scenes(source, satellite, needs_satellite=opened.card.satellite is not None)
    model = open_model(
        opened, choice, variant="probabilities" if probabilities else "classes", threads=threads
    )
    if not opened.manifest.verified:
        chosen("bundle", "not verified", opened.manifest.verdict)
    chosen("backend", f"{choice.name} on {choice.device}, {model.precision}", choice.reason)
    _print_input(scenes)
    options = MapOptions(
        confidence=confidence,
        probabilities=probabilities,
        allow_toy=toy_ok,
        segx_version=__version__,
    )
    with progress("tiles") as advance:
        report = map_scenes(
            scenes, opened.card, model, out, tally=tally, options=options, on_tile=advance
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
