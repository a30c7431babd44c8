"""Show what a run of inference would take, and what it did."""

from typing import TYPE_CHECKING

import typer

from .console import chosen

if TYPE_CHECKING:
    from runtime.report import Drift, Fit, Report, SatelliteUse
    from runtime.stream.forecast import Forecast


def print_fit(fit: "Fit") -> None:
    """Say what is done to make the input fit the model."""
    from runtime.report import FIT_NAMES

    for name in FIT_NAMES:
        if (text := getattr(fit, name)) is not None:
            chosen(f"made to fit, {name.replace('_', ' ')}", text)


def print_forecast(found: "Forecast") -> None:
    """Show what a run would take."""
    chosen(
        "tiles",
        f"{found.tiles} of {found.tile_size} px every {found.stride} px",
        f"halo {found.halo} px, lattice of {found.lattice_px} px, {found.batch} per call",
    )
    chosen("recompute", f"{found.recompute:.2f} px run per px mapped")
    parts = ", ".join(f"{name} {held:.0f}" for name, held in found.memory_mib.items() if held)
    chosen("memory", f"{sum(found.memory_mib.values()):.0f} MiB", parts)
    chosen("disk", f"{found.disk_mib:.0f} MiB while it runs", "maps are compressed at the end")
    chosen(
        "time",
        f"{found.seconds:.1f} s for {found.area_km2:.3f} km2",
        f"{1e3 * found.tile_s:.1f} ms per tile, measured on the golden tile",
    )


def print_report(report: "Report") -> None:
    """Show what a run did."""
    if report.resumed:
        chosen("resumed", "an interrupted run went on", "--restart begins anew")
    if report.satellite is not None:
        _print_satellite(report.satellite)
    if report.drift is not None:
        _print_drift(report.drift, report.tiles)
    if report.seams is not None and report.seams.share is not None:
        chosen("tile seams", f"{report.seams.share:.3%} of pixels differ between neighbours")
    _print_damage(report)
    share = "" if report.model_share is None else f", model busy {report.model_share:.0%}"
    chosen(
        "done",
        f"{report.tiles} tiles, {report.area_km2:.3f} km2 in {report.wall_s:.1f} s "
        f"({report.km2_per_h:.1f} km2/h, {report.peak_rss_mib:.0f} MiB{share})",
    )
    if report.vectorize_s is not None:
        chosen(
            "polygons", f"in {report.vectorize_s:.1f} s", "after the maps, apart from their time"
        )


def _print_satellite(use: "SatelliteUse") -> None:
    from runtime.aerial.acquired import LONG_GAP_DAYS

    chosen("Sentinel-2 dates used", f"{use.dates_used} of {use.dates_total}", use.policy)
    found = [item for dates in use.offsets.values() for item in dates]
    with_offset = [item for item in found if item.dn]
    if with_offset:
        origins = ", ".join(sorted({item.origin for item in with_offset}))
        chosen("Sentinel-2 offset of 1000", f"{len(with_offset)} of {len(found)} dates", origins)
    if use.tiles_aerial_only:
        chosen("mapped without Sentinel-2", f"{use.tiles_aerial_only} tiles", "see the quality map")
    if use.lattice_agreement is not None:
        chosen(
            "satellite lattice",
            f"{use.encoder_runs} runs, {use.lattice_agreement:.2%} of pixels as with one per tile",
        )
    gap = use.date_gap_days
    if gap is not None and gap > LONG_GAP_DAYS:
        typer.echo(
            f"segx: warning: aerial image and Sentinel-2 are {gap} days apart; expected a year at "
            "most; give a series of the same year with --satellite",
            err=True,
        )


def _print_damage(report: "Report") -> None:
    if not report.damaged:
        return
    files = sorted({item.path for item in report.damaged})
    typer.echo(
        f"segx: warning: {len(report.damaged)} unreadable block(s) of {', '.join(files[:3])} are "
        "nodata; expected whole files; replace them and run again with --restart",
        err=True,
    )


def _print_drift(drift: "Drift", tiles: int) -> None:
    from runtime.drift import MOST_OUTSIDE

    outside = f"{drift.tiles_outside} of {tiles} tiles, {drift.share:.0%}"
    chosen("unlike the calibration set", outside, ", ".join(drift.bands))
    if drift.share > MOST_OUTSIDE:
        typer.echo(
            f"segx: warning: {drift.share:.0%} of the tiles are unlike those that the bundle was "
            f"calibrated on; expected {MOST_OUTSIDE:.0%} at most; check bands and units of the "
            "input, or calibrate on such imagery",
            err=True,
        )
