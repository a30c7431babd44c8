"""`segx export`: turn a checkpoint into a bundle that runs without PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from .. import export_steps as steps
from ..export_steps import EVAL_PATCHES, Request

if TYPE_CHECKING:
    from exporter.convert import Converted
    from exporter.export import Exported
    from runtime.bundle import Bundle
    from trainkit.checkpoint import Checkpoint

GATE_MISSED = 3
"""Exit code of an export that is complete, but whose accuracy is out of budget."""


def export(
    context: typer.Context,
    source: Path | None = typer.Argument(
        None,
        metavar="[CHECKPOINT]",
        help="Checkpoint folder, or an FP32 bundle to convert. Default: the newest finished run "
        "below this folder.",
    ),
    precision: Literal["fp32", "fp16", "int8"] = typer.Option(
        "fp32", help="Precision of the graphs. fp16 and int8 convert the FP32 bundle."
    ),
    data: Path | None = typer.Option(
        None, "--eval", help="Data set to measure on. Default: the one it was trained on."
    ),
    calibration: Path | None = typer.Option(
        None,
        help="Data set to measure ranges on. Default: the data it was trained on, else --eval.",
    ),
    calibration_record: Path | None = typer.Option(
        None,
        help="A calibration.json of this model, whose samples are taken again if it still holds.",
    ),
    out: Path | None = typer.Option(
        None, help="The bundle.  [default: bundles/CONFIG-PRECISION.segx]", show_default=False
    ),
    plan: str | None = typer.Option(
        None,
        help="Precision by branch, such as aerial=int8,satellite=fp16, or auto: the fastest that "
        "keeps to the budgets. Default for int8: aerial branches in int8, the others in fp16.",
    ),
    repair_minutes: float = typer.Option(
        10.0, min=0.0, help="Time to repair or search a plan that misses its budgets; 0: none."
    ),
    calibration_samples: int = typer.Option(64, min=1, help="Samples to measure ranges on."),
    calibration_split: str | None = typer.Option(
        None, help="Split to take them from. Default: train, or the only one."
    ),
    calibration_areas: str | None = typer.Option(
        None, help="Areas to take them from, separated by commas. Default: all."
    ),
    calibration_method: Literal["max", "entropy"] = typer.Option(
        "entropy", help="How ranges of int8 follow from what was seen."
    ),
    seed: int = typer.Option(0, min=0, help="The same seed chooses the same samples."),
    force_calibration: bool = typer.Option(
        False, "--force-calibration", help="Take samples that scores are reported on all the same."
    ),
    quantize_transposed: bool = typer.Option(
        False,
        "--quantize-transposed",
        help="Quantise transposed convolutions too; TensorRT computes some of them wrongly.",
    ),
    gate_split: str | None = typer.Option(
        None, help="Split for the verdict. Default: test if there is one, else a third of val."
    ),
    gate_areas: str | None = typer.Option(
        None, help="Areas for the verdict, separated by commas. Default: all."
    ),
    eval_patches: int = typer.Option(
        EVAL_PATCHES, min=1, help="Patches to measure on at most, evenly spread over the split."
    ),
    licence: str | None = typer.Option(
        None, help="Licence of the weights, for the manifest, such as Apache-2.0."
    ),
    json: Path | None = typer.Option(None, help="Also write what was found to this file."),
) -> None:
    """Export a checkpoint as a bundle, and prove what it costs.

    Every part becomes an ONNX graph, is compared with PyTorch on real patches, and the accuracy
    is measured through the finished bundle. fp16 and int8 are made from the FP32 bundle, which is
    written first where it is not there, with ranges measured on paired samples; a gate measures
    what was lost, and how much of the gain from fusion is kept. Exit code 3: the bundle is there,
    but unverified because its accuracy is out of budget.

    Example: segx export runs/first --precision int8 --eval flair2/
    """
    from ..extras import require

    require("export", "segx export")
    if precision == "fp32":
        _refuse_ignored(context)
    from ..console import chosen, done, write_json
    from ..export_tables import show_converted, show_exported, summary

    chosen("precision", precision)
    request = Request(
        precision=precision,
        eval_path=data,
        eval_patches=eval_patches,
        calibration=calibration,
        calibration_record=calibration_record,
        calibration_samples=calibration_samples,
        calibration_split=calibration_split,
        calibration_areas=calibration_areas,
        calibration_method=calibration_method,
        seed=seed,
        force_calibration=force_calibration,
        quantize_transposed=quantize_transposed,
        plan=plan,
        repair_minutes=repair_minutes,
        gate_split=gate_split,
        gate_areas=gate_areas,
        licence=licence,
    )
    opened = steps.open_source(source)
    target = steps.target_path(opened, precision, out)
    made: Exported | Converted
    if precision == "fp32":
        made = _write_fp32(opened, request, target)
        show_exported(made)
    else:
        made = _convert(opened, request, target)
        show_converted(made)
    if json is not None:
        write_json(json, summary(made))
    chosen("verified", "yes" if made.verdict.verified else "no", made.verdict.text)
    done(target, f"segx infer INPUT --bundle {target}")
    if made.verdict.missed:
        raise typer.Exit(GATE_MISSED)


CONVERSION = ("calibration", "plan", "repair", "gate", "force", "quantize", "seed")
"""How the options begin that only conversions have."""


def _refuse_ignored(context: typer.Context) -> None:
    """Refuse options that FP32 has no use for: what was asked for must not be passed over."""
    for name in context.params:
        found = context.get_parameter_source(name)
        if found is not None and found.name == "COMMANDLINE" and name.startswith(CONVERSION):
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{option} is for --precision fp16 and int8; found fp32")


def _write_fp32(source: "Checkpoint | Bundle", request: Request, target: Path) -> "Exported":
    """Export a checkpoint in FP32."""
    from runtime.bundle import Bundle
    from runtime.errors import CheckpointError

    if isinstance(source, Bundle):
        raise CheckpointError(
            f"{source.path} is a bundle; expected a checkpoint folder for --precision fp32; name "
            "one, or convert the bundle with --precision fp16 or int8"
        )
    return _export(source, request, target)


def _export(source: "Checkpoint", request: Request, target: Path) -> "Exported":
    from exporter.export import export as write_bundle

    from .. import __version__

    tile = source.card.aerial.tile_size
    measured_on = steps.eval_data(request, steps.training_data(source), tile)
    options = steps.export_options(request, __version__)
    with steps.watching("export") as watch:
        return write_bundle(source, target, options, data=measured_on, watch=watch)


def _convert(source: "Checkpoint | Bundle", request: Request, target: Path) -> "Converted":
    """Convert an FP32 bundle, which is written first where it is not there."""
    from exporter.convert import convert

    from .. import __version__

    options = steps.convert_options(request, __version__)
    trained = steps.training_data(source)
    full = _full(source, request, target)
    calibration = steps.calibration_data(request, trained, full)
    gate = steps.gate_data(request, trained, full)
    with steps.watching("conversion") as watch:
        return convert(full, target, options, calibration=calibration, gate=gate, watch=watch)


def _full(source: "Checkpoint | Bundle", request: Request, target: Path) -> "Bundle":
    """Give the FP32 bundle to convert: the one beside the target, or a new one there."""
    from runtime.bundle import Bundle

    from .. import __version__
    from ..console import chosen
    from ..export_tables import show_exported

    if isinstance(source, Bundle):
        return source
    path = target.parent / f"{source.info.config}-fp32.segx"
    ready = steps.ready_fp32(source, path, __version__)
    if ready is not None:
        return ready
    chosen("FP32 bundle", path, "written first; it serves every other precision")
    exported = _export(source, request, path)
    show_exported(exported)
    return exported.bundle
