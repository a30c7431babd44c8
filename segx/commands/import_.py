"""`segx import`: a checkpoint of somebody else's weights, or a bundle of a ready ONNX file."""

from pathlib import Path

import typer

from .. import import_steps as steps
from ..export_steps import EVAL_PATCHES
from ..options import OffsetFlag

ONNX_SUFFIX = ".onnx"

GATE_MISSED = 3
"""Exit code of a bundle that is complete, but whose accuracy is out of budget."""

FOR_ONNX = {
    "data": "--eval",
    "eval_patches": "--eval-patches",
    "satellite_offset": "--satellite-offset",
    "licence": "--licence",
}
FOR_WEIGHTS = {"classes": "--classes", "ignore_unexpected": "--ignore-unexpected"}
"""Parameters that one kind of source has no use for, and their options."""


def import_(
    context: typer.Context,
    source: Path = typer.Argument(
        help="Weights (.safetensors, .pth, .pt, .ckpt), or a ready ONNX file (.onnx)."
    ),
    target: str | None = typer.Option(
        None,
        "--as",
        metavar="PRESET|module:factory|TOML",
        help="What the weights are of: a preset, or your own factory. Of an ONNX file: the TOML "
        "file that declares it.  [default: the one beside the ONNX file]",
        show_default=False,
    ),
    out: Path | None = typer.Option(
        None,
        help="The checkpoint folder, or the bundle.  [default: runs/TIME-NAME, or "
        "bundles/NAME-fp32.segx]",
        show_default=False,
    ),
    classes: str | None = typer.Option(
        None, help="Classes of the weights: a known list or a TOML file. Default: the preset's."
    ),
    ignore_unexpected: bool = typer.Option(
        False, "--ignore-unexpected", help="Pass over weights that the model has no place for."
    ),
    data: Path | None = typer.Option(
        None, "--eval", help="Data set to measure the ONNX file and its bundle on."
    ),
    eval_patches: int = typer.Option(
        EVAL_PATCHES, min=1, help="Patches to measure on at most, evenly spread over the split."
    ),
    satellite_offset: OffsetFlag = "auto",
    licence: str | None = typer.Option(
        None, help="Licence of the weights, for the bundle's manifest, such as Apache-2.0."
    ),
    json: Path | None = typer.Option(None, help="Also write what was found to this file."),
) -> None:
    """Make a checkpoint of somebody else's weights, or a bundle of a ready ONNX file.

    Nothing in a file of weights is run: a pickle that needs code is refused by its name. An ONNX
    file is declared in a small TOML file (docs/import.md): bands, scales, classes; its bundle is
    compared with it before it gets its name, and `segx export BUNDLE` converts it further. Exit
    code 3: the bundle is there, but its accuracy is out of budget.

    Example: segx import unet.onnx --as unet.toml --out bundles/unet-fp32.segx
    """
    from ..console import done, write_json

    is_onnx = source.suffix.lower() == ONNX_SUFFIX
    _refuse_given(context, FOR_WEIGHTS if is_onnx else FOR_ONNX, source)
    if not is_onnx:
        request = steps.WeightsRequest(
            target=target, out=out, classes=classes, ignore_unexpected=ignore_unexpected
        )
        folder, report = steps.checkpoint_from_weights(source, request)
        if json is not None:
            write_json(json, report)
        named = f" --factory {report.factory}" if report.factory else ""
        done(folder, f"segx export {folder}{named}")
        return
    asked = steps.OnnxRequest(
        declaration=None if target is None else Path(target),
        out=out,
        eval_path=data,
        eval_patches=eval_patches,
        satellite_offset=satellite_offset,
        licence=licence,
    )
    path, made = steps.bundle_from_onnx(source, asked)
    if json is not None:
        write_json(json, steps.onnx_summary(made))
    done(path, f"segx infer INPUT --bundle {path}")
    if made.exported.verdict.missed:
        raise typer.Exit(GATE_MISSED)


def _refuse_given(context: typer.Context, unused: dict[str, str], source: Path) -> None:
    """Refuse options that would be ignored.

    Raises:
        BadParameter: If one was given.
    """
    for name, option in unused.items():
        found = context.get_parameter_source(name)
        if found is not None and found.name == "COMMANDLINE":
            raise typer.BadParameter(f"{option} changes nothing for {source}; leave it out")
