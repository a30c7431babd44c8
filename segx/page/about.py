"""Sections that say what was measured on what, and what was shown of whom."""

from collections.abc import Sequence

from runtime.bundle import Bundle
from runtime.machine import Machine
from runtime.manifest import Manifest
from runtime.report import Report

from .document import Column, Section, data_table
from .timed import Timed

Facts = Sequence[tuple[str, object]]

_COLUMNS = (Column(title="what"), Column(title="found"))


def machine_section(machine: Machine, timed: Sequence[Timed], settings: Facts) -> Section:
    """Say which machine measured, how, and with what result of the self-test."""
    facts: Facts = (
        ("system", machine.system),
        ("processor", machine.processor),
        ("processor threads", machine.processor_threads),
        ("instruction sets", ", ".join(machine.features) or None),
        ("memory, GiB", machine.memory_gib or None),
        ("GPU", "; ".join(machine.gpus) or "none"),
        ("Jetson", machine.board),
        ("power mode", machine.power_mode),
        *settings,
    )
    columns = [
        Column(title="bundle"),
        Column(title="opened in, s", number=True),
        Column(title="first tile, s", number=True),
        Column(title="efficiency", number=True),
        Column(title="peak MiB", number=True),
        Column(title="energy, J", number=True),
        Column(title="passed over"),
    ]
    rows = [_execution(item) for item in timed]
    return Section(
        name="machine",
        title="How it was measured",
        lead=f"Inside the timings: {timed[0].result.inside}.",
        body=(
            data_table("Machine and settings", _COLUMNS, [(n, _word(v)) for n, v in facts]),
            data_table("Start, memory and energy", columns, rows),
        ),
    )


def _execution(item: Timed) -> list[str | None]:
    result, run = item.result, item.result.end_to_end
    energy = None if run is None or run.energy is None else f"{run.energy.joules:.0f}"
    passed = "; ".join(f"{name}: {reason}" for name, reason in result.passed_over.items())
    return [
        item.label,
        f"{result.load_s:.2f}",
        f"{result.first_tile_s:.2f}",
        None if result.efficiency is None else f"{result.efficiency:.2f}",
        f"{result.peak_rss_mib:.0f}",
        energy,
        passed or None,
    ]


def run_section(report: Report) -> Section:
    """Say what a run did."""
    use = report.satellite
    facts: list[tuple[str, object]] = [
        ("bundle", report.bundle.name),
        ("executed", f"{report.backend} on {report.device}, {report.precision}"),
        ("tiles", report.tiles),
        ("pixels", f"{report.pixels:,}"),
        ("area, km\u00b2", f"{report.area_km2:.3f}"),
        ("wall time, s", f"{report.wall_s:.1f}"),
        ("km\u00b2 per hour", f"{report.km2_per_h:.1f}"),
        ("peak memory, MiB", f"{report.peak_rss_mib:.0f}"),
    ]
    if use is not None:
        facts += [
            ("Sentinel-2 dates used", f"{use.dates_used} of {use.dates_total}"),
            ("where no date is clear", use.policy),
            ("tiles from clear dates", use.tiles_clear),
            ("tiles from covered dates", use.tiles_covered),
            ("tiles without Sentinel-2", use.tiles_aerial_only),
        ]
    if report.drift is not None:
        facts.append(("tiles unlike the calibration set", f"{report.drift.share:.0%}"))
    if report.seams is not None and report.seams.share is not None:
        facts.append(("pixels that differ at tile seams", f"{report.seams.share:.3%}"))
    facts.append(("unreadable blocks", len(report.damaged)))
    return Section(
        name="run",
        title="The run",
        body=(data_table("What was done", _COLUMNS, [(n, _word(v)) for n, v in facts]),),
    )


def bundle_section(bundle: Bundle) -> Section:
    """Say what a bundle holds."""
    manifest = bundle.manifest
    columns = [
        Column(title="part"),
        Column(title="role"),
        Column(title="file"),
        Column(title="precision"),
        Column(title="MiB", number=True),
    ]
    rows = [
        (
            part.name,
            part.role,
            part.file,
            part.precision,
            f"{bundle.file(part).stat().st_size / 2**20:.2f}",
        )
        for part in manifest.parts
    ]
    facts = _bundle_facts(manifest, bundle.sha256)
    return Section(
        name="bundle",
        title="The bundle",
        lead=manifest.verdict,
        body=(
            data_table("What it is", _COLUMNS, [(n, _word(v)) for n, v in facts]),
            data_table(f"Parts, {bundle.size_mib:.1f} MiB", columns, rows),
        ),
    )


def _bundle_facts(manifest: Manifest, sha256: str) -> Facts:
    model, accuracy = manifest.model, manifest.accuracy
    return (
        ("verified", "yes" if manifest.verified else "no"),
        ("precision", manifest.precision),
        ("model", model.config + (" (toy)" if model.toy else "")),
        ("weights", f"{model.parameters:,}"),
        ("training steps", "not known" if model.imported else model.steps),
        ("mIoU, %", None if accuracy is None else f"{100 * accuracy.miou:.2f}"),
        (
            "of the checkpoint, %",
            None if accuracy is None else f"{100 * accuracy.reference_miou:.2f}",
        ),
        ("made", manifest.created),
        ("sha256 of the manifest", sha256),
        *((f"licence of {name}", text) for name, text in manifest.licences.items()),
    )


def _word(value: object) -> str | None:
    return None if value is None else str(value)
