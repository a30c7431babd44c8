"""`segx inspect`: what a bundle holds."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from runtime.manifest import Manifest, PartSpec


def inspect_bundle(
    bundle: Path = typer.Argument(..., help="Bundle to look at."),
    json: Path | None = typer.Option(None, help="Also write the manifest to this file."),
    stac: Path | None = typer.Option(None, help="Also write a STAC item with MLM to this file."),
) -> None:
    """Show what a bundle holds, after checking every file against its hash.

    Example: segx inspect bundles/lf-dlm-tiny-fp32.segx
    """
    from runtime.bundle import open_bundle

    from ..console import chosen, done, say, table, write_json

    opened = open_bundle(bundle)
    manifest = opened.manifest
    chosen("bundle", manifest.name, f"format {manifest.format_version}, {opened.size_mib:.1f} MiB")
    chosen("sha256", opened.sha256)
    chosen("made", manifest.created, f"segx {manifest.segx_version}")
    model = manifest.model
    steps = "imported, training not known" if model.imported else f"{model.steps} training steps"
    told = f"{model.parameters} parameters, {steps}"
    chosen("model", model.config + (" (toy)" if model.toy else ""), told)
    chosen("verified", "yes" if manifest.verified else "no", manifest.verdict)
    _print_inputs(manifest)
    table(
        ["part", "role", "precision", "", "tensor", "dtype", "shape"],
        [row for part in manifest.parts for row in _tensors(part)],
    )
    _print_classes(manifest)
    for what, licence in manifest.licences.items():
        chosen(f"licence of {what}", licence)
    then = f"segx infer INPUT --bundle {bundle}"
    if json is not None:
        write_json(json, manifest)
    if stac is not None:
        from ..stac import stac_item

        write_json(stac, stac_item(opened, stac))
    written = [path for path in (json, stac) if path is not None]
    for path in written:
        done(path, then if path == written[-1] else "")
    if not written:
        say(f"next: {then}")


def _print_inputs(manifest: "Manifest") -> None:
    from ..console import chosen

    aerial, satellite = manifest.aerial, manifest.satellite
    chosen(
        "aerial",
        f"{', '.join(aerial.bands)} at {aerial.resolution_m} m, {aerial.dtype}",
        f"tiles of {aerial.tile_size} px, halo {aerial.halo} px"
        + ("" if aerial.halo_exact else " (the receptive field is larger)"),
    )
    if satellite is not None:
        chosen(
            "satellite",
            f"{', '.join(satellite.bands)} at {satellite.cell_m} m, monthly means",
            f"window of {satellite.window} cells, dates with less than "
            f"{satellite.dates.max_covered:.0%} cloud or snow",
        )


def _print_classes(manifest: "Manifest") -> None:
    from ..console import say, table

    accuracy = manifest.accuracy
    iou = {} if accuracy is None else accuracy.iou
    table(
        ["index", "class", "colour", "scored", "IoU %"],
        [
            [
                index,
                item.name,
                item.color,
                "yes" if item.scored else "no",
                100 * iou[item.name] if item.name in iou else None,
            ]
            for index, item in enumerate(manifest.classes)
        ],
    )
    if accuracy is not None:
        reference = "original" if manifest.model.imported else "checkpoint"
        say(
            f"mIoU {100 * accuracy.miou:.2f} % over {accuracy.scored_classes} classes on "
            f"{accuracy.patches} patches of {accuracy.dataset} ({accuracy.split}); "
            f"{reference} {100 * accuracy.reference_miou:.2f} %"
        )


def _tensors(part: "PartSpec") -> list[list[object]]:
    """One row for every input and output; the first also says which part it is."""
    sides = [("in", spec) for spec in part.inputs] + [("out", spec) for spec in part.outputs]
    heads: list[list[object]] = [[part.name, part.role, part.precision]]
    heads += [["", "", ""]] * (len(sides) - 1)
    return [
        [*head, side, spec.name, spec.dtype, " x ".join(map(str, spec.shape))]
        for head, (side, spec) in zip(heads, sides, strict=True)
    ]
