"""`segx export`: turn a checkpoint into a bundle that runs without PyTorch, and into engines."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from runtime.products import OffsetOption

from .. import export_engines as for_engines
from .. import export_jobs as jobs
from .. import export_steps as steps
from ..export_engines import EngineFlags, EngineOption
from ..export_steps import EVAL_PATCHES, Request
from ..extras import require
from ..options import OFFSET_HELP, FactoryFlag, HtmlFlag

if TYPE_CHECKING:
    from exporter.convert import Converted
    from exporter.export import Exported
    from exporter.merge import Merged
    from runtime.bundle import Bundle
    from trainkit.checkpoint import Checkpoint

GATE_MISSED = 3
"""Exit code of an export that is complete, but whose accuracy is out of budget."""


def export(
    context: typer.Context,
    source: Path | None = typer.Argument(
        None,
        metavar="[CHECKPOINT|BUNDLE]",
        help="Checkpoint folder; or a bundle, to convert from FP32, or to take as it is. Default: "
        "the newest finished run below this folder.",
    ),
    precision: Literal["fp32", "fp16", "int8"] | None = typer.Option(
        None,
        help="Precision of the graphs. fp16 and int8 convert the FP32 bundle. Default: fp32, or "
        "that of the bundle, which is then taken as it is.",
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
    full_range_weights: bool = typer.Option(
        False,
        "--full-range-weights",
        help="Give INT8 weights 255 levels in place of 129. x86 processors without VNNI compute "
        "such a bundle in FP32.",
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
    satellite_offset: OffsetOption | None = typer.Option(
        None, help=f"{OFFSET_HELP} Default: that of the training for its data, else auto."
    ),
    licence: str | None = typer.Option(
        None, help="Licence of the weights, for the manifest, such as Apache-2.0."
    ),
    merge_parts: bool = typer.Option(
        False,
        "--merge-parts",
        help="Merge the parts of a BUNDLE, taken as it is, into one graph: one engine, not three.",
    ),
    deepness: Path | None = typer.Option(
        None,
        help="Also write a model of one input as one ONNX file for Deepness, a plug-in of QGIS.",
    ),
    engine: EngineOption = typer.Option(
        "auto",
        help="TensorRT engines to build of the finished bundle; auto: for this machine's GPU, if "
        "it and a TensorRT are there.",
    ),
    compute_capability: str | None = typer.Option(
        None,
        help="GPUs to build for ahead of time, which need not be there, such as 8.6,8.9,12.0; "
        "with --engine tensorrt-rtx.",
    ),
    engines: Path | None = typer.Option(
        None, help="Folder for the engines, to carry to a device. Default: the engine cache."
    ),
    workspace: int | None = typer.Option(
        None, min=256, help="MiB of scratch memory for a build, at most. Builds anew."
    ),
    optimization_level: int | None = typer.Option(
        None, min=0, max=5, help="0 (fast build) to 5 (fast engine). Builds anew."
    ),
    factory: FactoryFlag = "",
    html: HtmlFlag = None,
    json: Path | None = typer.Option(None, help="Also write what was found to this file."),
) -> None:
    """Export a checkpoint as a bundle, and prove what it costs.

    Every part becomes an ONNX graph, is compared with PyTorch on real patches, and the accuracy
    is measured through the finished bundle. fp16 and int8 are made from the FP32 bundle, which is
    written first where it is not there, with ranges measured on paired samples; a gate measures
    what was lost, and how much of the gain from fusion is kept. Exit code 3: the bundle is there,
    but unverified because its accuracy is out of budget.

    Engines are built of the finished bundle; they are no part of it, and a device without any
    builds its own at its first run.

    Example: segx export runs/first --precision int8 --eval flair2/
    """
    from ..console import chosen, write_json
    from ..export_tables import show, summary

    flags = EngineFlags(
        engine=engine,
        compute_capability=compute_capability,
        engines=engines,
        workspace=workspace,
        optimization_level=optimization_level,
    )
    opened = steps.open_source(source, factory)
    if deepness is not None:
        _check_deepness(opened)
    job, settled = jobs.choose_job(opened, precision, merge_parts=merge_parts)
    jobs.refuse_ignored(context, job)
    chosen("precision", settled, "the bundle is taken as it is" if job == "take" else "")
    planned = for_engines.plan_engines(flags)
    request = Request(
        precision=settled,
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
        full_range_weights=full_range_weights,
        plan=plan,
        repair_minutes=repair_minutes,
        gate_split=gate_split,
        gate_areas=gate_areas,
        licence=licence,
        satellite_offset=satellite_offset,
    )
    made, path = _make(job, opened, request, out)
    show(made)
    built = for_engines.build_engines(made.bundle, planned)
    for_engines.show_engines(built)
    if json is not None:
        write_json(json, summary(made) | {"engines": for_engines.summary(planned, built)})
    if deepness is not None:
        _write_deepness(deepness, made.bundle)
    if html is not None:
        _write_page(html, made.bundle)
    chosen("verified", "yes" if made.verdict.verified else "no", made.verdict.text)
    _say_next(path, flags, written=job != "take")
    if made.verdict.missed:
        raise typer.Exit(GATE_MISSED)


def _make(
    job: jobs.Job, source: "Checkpoint | Bundle", request: Request, out: Path | None
) -> "tuple[Exported | Converted | Merged | jobs.Taken, Path]":
    """Make the bundle that was asked for, and give its path."""
    from runtime.bundle import Bundle

    if isinstance(source, Bundle) and job == "take":
        return jobs.Taken(source), source.path
    require("export", "segx export")
    target = jobs.target_path(source, job, request.precision, out)
    if job == "convert":
        return _convert(source, request, target), target
    if isinstance(source, Bundle):
        return _merge(source, target), target
    return _export(source, request, target), target


def _check_deepness(source: "Checkpoint | Bundle") -> None:
    """Refuse a model that Deepness cannot run, before any work."""
    require("export", "segx export --deepness")
    from exporter.deepness import check_deepness

    check_deepness(source.card)


def _write_deepness(path: Path, bundle: "Bundle") -> None:
    from exporter.deepness import write_deepness

    from .. import __version__
    from ..console import done

    write_deepness(bundle, path, segx_version=__version__)
    done(path)


def _write_page(page: Path, bundle: "Bundle") -> None:
    from runtime.files import write_text

    from ..console import done
    from ..page.compose import export_page

    write_text(page, export_page(bundle))
    done(page)


def _say_next(path: Path, flags: EngineFlags, *, written: bool) -> None:
    from ..console import done, say

    command = f"segx infer INPUT --bundle {path}"
    if flags.engines is not None:
        command += f" --engines {flags.engines} --trust-engines"
    if written:
        done(path, command)
    else:
        say(f"next: {command}")


def _merge(source: "Bundle", target: Path) -> "Merged":
    from exporter.merge import merge

    from .. import __version__

    with steps.watching("merging") as watch:
        return merge(source, target, segx_version=__version__, watch=watch)


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
    from exporter.convert import check_source, convert
    from runtime.bundle import Bundle

    from .. import __version__

    if isinstance(source, Bundle):
        check_source(source, target)
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
