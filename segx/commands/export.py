"""`segx export`: turn a checkpoint into a bundle that runs without PyTorch."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:
    from exporter.accuracy import EvalData
    from exporter.export import Exported
    from trainkit.checkpoint import Checkpoint

    from ..console import Advance

EVAL_SPLIT = "val"
EVAL_PATCHES = 200
"""Patches that are measured at most, unless the user says otherwise."""

GATE_MISSED = 3
"""Exit code of an export that is complete, but whose accuracy is out of budget."""

PERCENT = 100.0


def export(
    checkpoint: Path | None = typer.Argument(
        None, help="Checkpoint folder. Default: the newest finished run below this folder."
    ),
    precision: Literal["fp32"] = typer.Option("fp32", help="Precision of the graphs."),
    data: Path | None = typer.Option(
        None, "--eval", help="Data set to measure on. Default: the one it was trained on."
    ),
    out: Path | None = typer.Option(
        None, help="The bundle.  [default: bundles/CONFIG-PRECISION.segx]", show_default=False
    ),
    eval_patches: int = typer.Option(
        EVAL_PATCHES, min=1, help="Patches to measure on at most, evenly spread over the split."
    ),
    licence: str | None = typer.Option(
        None, help="Licence of the weights, for the manifest, such as Apache-2.0."
    ),
    json: Path | None = typer.Option(None, help="Also write what was found to this file."),
) -> None:
    """Export a checkpoint as a bundle, and prove that it gives the same maps.

    Every part becomes an ONNX graph, is compared with PyTorch on real patches, and the accuracy
    is measured through the finished bundle. Exit code 3: the bundle is there, but unverified
    because its accuracy is out of budget.

    Example: segx export runs/first --eval flair2/ --out bundles/first.segx
    """
    from ..extras import require

    require("export", "segx export")
    from exporter.export import export as write_bundle
    from exporter.options import ExportOptions
    from exporter.watch import Watch
    from trainkit.checkpoint import load_checkpoint

    from .. import __version__
    from ..console import chosen, done, write_json

    opened = load_checkpoint(_checkpoint(checkpoint))
    chosen("precision", precision)
    target = out or Path("bundles") / f"{opened.info.config}-{precision}.segx"
    chosen("bundle", target, "" if out else "default")
    measured_on = _eval_data(opened, data, eval_patches)
    options = ExportOptions(segx_version=__version__, precision=precision)
    options = replace(options, weights_licence=licence) if licence else options
    with ExitStack() as bars:
        watch = Watch(on_step=_bar(bars, "export"), on_patch=_bar(bars, "patches measured"))
        exported = write_bundle(opened, target, options, data=measured_on, watch=watch)
    _print(exported)
    if json is not None:
        write_json(json, _summary(exported))
    chosen("verified", "yes" if exported.verdict.verified else "no", exported.verdict.text)
    done(target, f"segx infer INPUT --bundle {target}")
    if exported.verdict.missed:
        raise typer.Exit(GATE_MISSED)


def _bar(bars: ExitStack, name: str) -> "Advance":
    """Make a progress bar that takes the place of the one before when it first moves."""
    opened: list[Advance] = []

    def advance(done: int, total: int, note: str = "") -> None:
        if not opened:
            from ..console import progress

            bars.close()
            opened.append(bars.enter_context(progress(name)))
        opened[0](done, total, note)

    return advance


def _checkpoint(named: Path | None) -> Path:
    """Take the checkpoint that was named, else the newest one."""
    from runtime.errors import CheckpointError
    from trainkit.checkpoint import newest_checkpoint

    from ..console import chosen

    path = named or newest_checkpoint(Path.cwd())
    if path is None:
        raise CheckpointError(
            "no finished run lies below this folder; expected one made by `segx train`; "
            "name a checkpoint folder"
        )
    chosen("checkpoint", path, "" if named else "the newest finished run below this folder")
    return path


def _eval_data(checkpoint: "Checkpoint", named: Path | None, limit: int) -> "EvalData | None":
    """Open the data that was named, else that of the training if it is still there."""
    from exporter.accuracy import EvalData
    from runtime.dataset import open_dataset

    from ..console import chosen

    recorded = checkpoint.info.provenance.get("data")
    known = recorded if isinstance(recorded, dict) else {}
    path = named or Path(str(known.get("path", "")))
    if named is None and not (known.get("path") and path.is_dir()):
        chosen("data", "none", "that of the training is gone; give --eval to measure the bundle")
        return None
    dataset = open_dataset(path)
    why = "given" if named else "the data it was trained on"
    if named is None and dataset.fingerprint() != known.get("fingerprint"):
        why += ", whose files have changed since"
    patches = len(dataset.ids(EVAL_SPLIT))
    chosen("data", path, f"{why}; {min(patches, limit)} of {patches} patches of {EVAL_SPLIT}")
    return EvalData(dataset=dataset, split=EVAL_SPLIT, limit=limit)


def _print(exported: "Exported") -> None:
    from ..console import table

    table(
        ["part", "file", "nodes", "MiB", "asked", "found", "simplifier"],
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
            for graph in exported.graphs
        ],
        title=f"parts, {exported.bundle.size_mib:.1f} MiB",
    )
    ledger = exported.ledger
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
                f"{PERCENT * row.agreement.argmax:.3f}",
            ]
            for stage in ledger.stages
            for row in stage.rows
        ],
        title=f"parity, largest and mean difference on {len(ledger.samples)} {kind}",
    )
    _print_accuracy(exported)


def _print_accuracy(exported: "Exported") -> None:
    from exporter.accuracy import MIOU_BUDGET

    from ..console import table

    accuracy = exported.bundle.manifest.accuracy
    if accuracy is None:
        return
    change = accuracy.miou - accuracy.reference_miou
    table(
        ["measure", "checkpoint %", "bundle %", "change", "allowed", "passed"],
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


def _summary(exported: "Exported") -> dict[str, object]:
    manifest = exported.bundle.manifest
    return {
        "bundle": exported.bundle.path,
        "sha256": exported.bundle.sha256,
        "size_mib": exported.bundle.size_mib,
        "parts": exported.graphs,
        "parity": exported.ledger,
        "accuracy": manifest.accuracy,
        "verified": manifest.verified,
        "verdict": manifest.verdict,
    }
