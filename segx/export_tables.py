"""Show what an export found."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .console import say, table

if TYPE_CHECKING:
    from exporter.convert import Converted
    from exporter.export import Exported
    from exporter.gate_report import CandidateReport, Check, GateReport
    from exporter.graph import GraphReport
    from exporter.merge import Merged
    from exporter.parity import Ledger

    from .export_jobs import Taken

PERCENT = 100.0


def show(made: "Exported | Converted | Merged | Taken") -> None:
    """Show what was made; of a bundle that is taken as it is, there is nothing to show."""
    from .export_jobs import Taken

    if isinstance(made, Taken):
        return
    from exporter.convert import Converted
    from exporter.merge import Merged

    if isinstance(made, Converted):
        _show_converted(made)
    elif isinstance(made, Merged):
        _show_graphs(made.graphs, made.bundle.size_mib)
        _show_ledger(made.ledger)
    else:
        show_exported(made)


def show_exported(exported: "Exported") -> None:
    """Show parts, stages and accuracy of an FP32 bundle."""
    _show_graphs(exported.graphs, exported.bundle.size_mib)
    _show_ledger(exported.ledger)
    _show_accuracy(exported)


def _show_graphs(graphs: "Sequence[GraphReport]", size_mib: float) -> None:
    table(
        ["part", "file", "nodes", "MiB", "asked", "found", "made"],
        [
            [
                graph.spec.name,
                graph.spec.file,
                graph.nodes,
                graph.size_mib,
                graph.spec.precision,
                graph.found_precision,
                graph.note,
            ]
            for graph in graphs
        ],
        title=f"parts, {size_mib:.1f} MiB",
    )


def _show_converted(converted: "Converted") -> None:
    table(
        ["part", "file", "MiB", "asked", "INT8 %", "FP16 %", "FP32 %", "kept in FP32", "s", "MiB"],
        [
            [
                part.spec.name,
                part.spec.file,
                converted.bundle.file(part.spec).stat().st_size / 2**20,
                part.spec.precision,
                f"{PERCENT * part.shares.int8:.1f}",
                f"{PERCENT * part.shares.fp16:.1f}",
                f"{PERCENT * part.shares.fp32:.1f}",
                f"{len(part.kept)} nodes",
                part.worker and part.worker.seconds,
                part.worker and part.worker.peak_rss_mib,
            ]
            for part in converted.parts
        ],
        title=f"parts, {converted.bundle.size_mib:.1f} MiB; share of multiplications by precision; "
        "seconds and memory of the conversion",
    )
    say(f"plan: {converted.search.text}")
    _show_ledger(converted.ledger)
    if converted.gate is not None:
        _show_gate(converted.gate)


def _show_ledger(ledger: "Ledger") -> None:
    kind = "patches of the data" if ledger.source == "data" else "random inputs (no data)"
    table(
        ["stage", "against", "part", "max", "mean", "scale", "cosine", "same class %"],
        [
            [
                stage.candidate,
                stage.reference,
                row.part,
                f"{row.agreement.max_abs:.1e}",
                f"{row.agreement.mean_abs:.1e}",
                f"{row.agreement.scale:.3g}",
                f"{row.agreement.cosine:.7f}",
                row.agreement.argmax
                if row.agreement.argmax is None
                else f"{PERCENT * row.agreement.argmax:.3f}",
            ]
            for stage in ledger.stages
            for row in stage.rows
        ],
        title=f"parity, largest and mean difference on {len(ledger.samples)} {kind}",
    )


def _show_accuracy(exported: "Exported") -> None:
    from exporter.accuracy import MIOU_BUDGET

    accuracy = exported.bundle.manifest.accuracy
    if accuracy is None:
        return
    change = accuracy.miou - accuracy.reference_miou
    reference = "original" if exported.bundle.manifest.model.imported else "checkpoint"
    table(
        ["measure", f"{reference} %", "bundle %", "change", "allowed", "passed"],
        [
            [
                f"mIoU of {accuracy.scored_classes} classes",
                PERCENT * accuracy.reference_miou,
                PERCENT * accuracy.miou,
                f"{PERCENT * change:+.4f}",
                f"+-{PERCENT * MIOU_BUDGET:.2f}",
                "no" if exported.verdict.missed else "yes",
            ],
            ["pixel accuracy", None, PERCENT * accuracy.accuracy, None, None, None],
        ],
        title=f"accuracy on {accuracy.patches} patches of {accuracy.dataset} ({accuracy.split}), "
        f"bundle run by {accuracy.executed}",
    )


def _show_gate(gate: "GateReport") -> None:
    singles = ", ".join(
        f"{name} alone {PERCENT * value:.2f} %" for name, value in gate.single_mious.items()
    )
    say(
        f"gate on {gate.patches} patches of {gate.dataset} ({gate.split}), {gate.scored_classes} "
        f"classes: FP32 {PERCENT * gate.reference_miou:.2f} % mIoU, "
        f"{PERCENT * gate.reference_boundary_miou:.2f} % along borders"
        + (f"; {singles}" if singles else "")
    )
    for candidate in gate.candidates:
        _show_candidate(candidate)


def _show_candidate(candidate: "CandidateReport") -> None:
    checks: Sequence[Check] = candidate.checks
    table(
        ["check", "found", "budget", "passed", "note"],
        [
            [
                f"{check.name}, {check.unit}",
                f"{check.found:.3f}" if math.isfinite(check.found) else None,
                None if check.budget is None else f"{check.limit} {check.budget:g}",
                {True: "yes", False: "no", None: "not judged"}[check.passed],
                check.note,
            ]
            for check in checks
        ],
        title=f"{candidate.name} ({candidate.executed}): {PERCENT * candidate.miou:.2f} % mIoU, "
        f"{PERCENT * candidate.boundary_miou:.2f} % along borders",
    )


def summary(made: "Exported | Converted | Merged | Taken") -> dict[str, object]:
    """Say the same for `--json`."""
    from .export_jobs import Taken

    manifest = made.bundle.manifest
    found: dict[str, object] = {
        "bundle": made.bundle.path,
        "sha256": made.bundle.sha256,
        "size_mib": made.bundle.size_mib,
        "accuracy": manifest.accuracy,
        "verified": manifest.verified,
        "verdict": manifest.verdict,
    }
    if isinstance(made, Taken):
        return found
    from exporter.convert import Converted

    found["parity"] = made.ledger
    if not isinstance(made, Converted):
        return found | {"parts": made.graphs}
    conversion = manifest.provenance["conversion"]
    return found | {"conversion": conversion, "gate": made.gate}
