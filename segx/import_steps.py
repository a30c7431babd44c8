"""What `segx import` does with each kind of source, and how it is shown."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ConfigError
from runtime.products import OffsetOption

from .console import chosen, say
from .export_steps import BUNDLES, EVAL_SPLIT, only_split, watching
from .export_tables import show_exported, summary
from .extras import require

if TYPE_CHECKING:
    from exporter.accuracy import EvalData
    from exporter.importing import Imported
    from trainkit.importing import ImportReport

SHOWN = 3
"""Names of weights that are shown of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRequest:
    """What the user asked for of an ONNX file; None: the default."""

    declaration: Path | None
    out: Path | None
    eval_path: Path | None
    eval_patches: int
    satellite_offset: OffsetOption
    licence: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRequest:
    """What the user asked for of a file of weights; None: the default."""

    target: str | None
    out: Path | None
    classes: str | None
    ignore_unexpected: bool


def bundle_from_onnx(source: Path, request: OnnxRequest) -> "tuple[Path, Imported]":
    """Import an ONNX file, and show what was found; gives the bundle's path too.

    Raises:
        SegxError: See `exporter.importing.import_onnx`.
    """
    require("export", "segx import")
    from exporter.importing import ImportOptions, import_onnx, load_declaration

    from . import __version__

    path = request.declaration or source.with_suffix(".toml")
    declaration = load_declaration(path, source)
    chosen("declaration", path, "" if request.declaration else "beside the ONNX file")
    aerial = declaration.aerial
    why = "declared" if aerial.halo is not None else "an eighth of a tile; none is declared"
    chosen("halo", f"{aerial.chosen_halo} px", why)
    target = request.out or BUNDLES / f"{declaration.name}-fp32.segx"
    chosen("bundle", target, "" if request.out else "default")
    data = _eval_data(request, aerial.tile_size)
    options = ImportOptions(segx_version=__version__)
    if request.licence:
        options = replace(options, weights_licence=request.licence)
    with watching("import") as watch:
        made = import_onnx(source, declaration, target, options, data=data, watch=watch)
    for note in made.notes:
        chosen("graph", note)
    show_exported(made.exported)
    verdict = made.exported.verdict
    chosen("verified", "yes" if verdict.verified else "no", verdict.text)
    return target, made


def onnx_summary(made: "Imported") -> dict[str, object]:
    """What `--json` holds of an imported ONNX file."""
    return summary(made.exported) | {"notes": list(made.notes)}


def _eval_data(request: OnnxRequest, tile: int) -> "EvalData | None":
    from exporter.accuracy import EvalData
    from runtime.dataset import open_dataset

    if request.eval_path is None:
        chosen("data", "none", "parity on random numbers; give --eval to measure the bundle")
        return None
    offset = request.satellite_offset
    dataset = open_dataset(request.eval_path, tile=tile, satellite_offset=offset)
    split = only_split(dataset) or EVAL_SPLIT
    patches = len(dataset.ids(split))
    taken = min(patches, request.eval_patches)
    chosen("data", dataset.root, f"given; {taken} of {patches} patches of {split}")
    return EvalData(dataset=dataset, split=split, limit=request.eval_patches)


def checkpoint_from_weights(source: Path, request: WeightsRequest) -> "tuple[Path, ImportReport]":
    """Import a file of weights, and show what was found; gives the checkpoint's path too.

    Raises:
        SegxError: See `trainkit.importing.import_weights`.
    """
    require("train", "segx import")
    from trainkit.importing import ImportOptions, import_weights

    from . import __version__

    if request.target is None:
        raise ConfigError(
            f"{source} holds weights alone; expected to be told of what; give --as PRESET or "
            "--as module:factory (of an ONNX file: its name must end in .onnx)"
        )
    name = request.target.replace(":", "-")
    name = Path(name).stem if name.endswith(".toml") else name
    folder = request.out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    chosen("checkpoint", folder, "" if request.out else "default")
    options = ImportOptions(
        segx_version=__version__,
        classes=request.classes or "",
        ignore_unexpected=request.ignore_unexpected,
    )
    report = import_weights(source, request.target, folder, options)
    _show_weights(report)
    return folder, report


def _show_weights(report: "ImportReport") -> None:
    chosen("model", report.target, f"{report.parameters} parameters")
    wrapped = f"under the key '{report.wrapper}'" if report.wrapper else "at the top of the file"
    prefix = f", '{report.prefix}' taken off their names" if report.prefix else ""
    chosen("names", report.layout, wrapped + prefix)
    for name, value in report.chosen.items():
        chosen(name, value)
    say(f"weights: {report.matched} taken from {report.source}")
    kinds = {
        "left random, of heads for training": report.left_random,
        "not read, for training alone": report.not_read,
        "passed over, without a place": report.passed_over,
    }
    for kind, names in kinds.items():
        if names:
            more = ", ..." if len(names) > SHOWN else ""
            say(f"weights {kind}: {len(names)} ({', '.join(names[:SHOWN])}{more})")
