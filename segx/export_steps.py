"""What `segx export` does before and between the steps of the exporter: find inputs, say so."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .console import chosen
from .extras import require
from .models import refuse_factory

if TYPE_CHECKING:
    from exporter.accuracy import EvalData
    from exporter.calibrate import CalibrationData
    from exporter.options import ConvertOptions, ExportOptions
    from exporter.trial import GateData
    from exporter.watch import Watch
    from runtime.bundle import Bundle
    from runtime.dataset import Dataset
    from runtime.products import OffsetOption
    from trainkit.checkpoint import Checkpoint

    from .console import Advance

EVAL_SPLIT = "val"
CALIBRATION_SPLIT = "train"
USUAL_SPLITS = ("train", "val", "test")
EVAL_PATCHES = 200
"""Patches that are measured at most, unless the user says otherwise."""

BUNDLES = Path("bundles")

AUTO = "auto"
"""Plan that is searched for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for; None: the default."""

    precision: Literal["fp32", "fp16", "int8"]
    eval_path: Path | None
    eval_patches: int
    calibration: Path | None
    calibration_record: Path | None
    calibration_samples: int
    calibration_split: str | None
    calibration_areas: str | None
    calibration_method: Literal["max", "entropy"]
    seed: int
    force_calibration: bool
    quantize_transposed: bool
    full_range_weights: bool
    plan: str | None
    repair_minutes: float
    gate_split: str | None
    gate_areas: str | None
    licence: str | None
    satellite_offset: "OffsetOption | None" = None


def open_source(named: Path | None, factory: str = "") -> "Checkpoint | Bundle":
    """Open the checkpoint or bundle that was named, else the newest checkpoint.

    Args:
        named: Its folder.
        factory: The code that makes the checkpoint's module, which the user named.

    Raises:
        BackendError: If it is a checkpoint and what exports one is not installed.
        CheckpointError: If none was named and there is none, or it is not of that factory.
    """
    from runtime.bundle import SUFFIX, open_bundle
    from runtime.errors import CheckpointError
    from runtime.manifest import MANIFEST_NAME

    if named is not None and ((named / MANIFEST_NAME).is_file() or named.suffix == SUFFIX):
        refuse_factory(named, factory)
        chosen("source", named, "a bundle")
        return open_bundle(named)
    require("export", "segx export")
    from trainkit.checkpoint import load_checkpoint, newest_checkpoint

    path = named or newest_checkpoint(Path.cwd())
    if path is None:
        raise CheckpointError(
            "no finished run lies below this folder; expected one made by `segx train`; "
            "name a checkpoint folder"
        )
    chosen("checkpoint", path, "" if named else "the newest finished run below this folder")
    return load_checkpoint(path, factory=factory)


def ready_fp32(checkpoint: "Checkpoint", path: Path, segx_version: str) -> "Bundle | None":
    """Open the FP32 bundle at a path if it is of these weights and this segx, and verified.

    That of random weights is never verified, and is taken as it is.
    """
    from runtime.bundle import open_bundle
    from runtime.errors import BundleError
    from trainkit.checkpoint import WEIGHTS_NAME

    try:
        bundle = open_bundle(path)
    except BundleError:
        return None
    recorded = bundle.manifest.provenance.get("checkpoint")
    same = (
        isinstance(recorded, dict)
        and recorded.get("sha256") == checkpoint.info.files[WEIGHTS_NAME]
        and bundle.manifest.precision == "fp32"
        and bundle.manifest.segx_version == segx_version
        and (bundle.manifest.verified or not all(checkpoint.info.steps.values()))
    )
    if not same:
        return None
    chosen("FP32 bundle", path, "it is there, and of these weights")
    return bundle


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The data that a checkpoint was trained on, if it is still there."""

    path: Path | None
    fingerprint: object = None
    satellite_offset: "OffsetOption" = "auto"


def training_data(source: "Checkpoint | Bundle") -> TrainingData:
    """Find the training data; a bundle names no path of the machine it was made on."""
    from runtime.bundle import Bundle

    if isinstance(source, Bundle):
        return TrainingData(None)
    recorded = source.info.provenance.get("data")
    known = recorded if isinstance(recorded, dict) else {}
    path = Path(str(known.get("path", "")))
    if not known.get("path") or not path.is_dir():
        return TrainingData(None)
    offset = known.get("satellite_offset")
    kept: OffsetOption = offset if offset in ("0", "1000") else "auto"
    return TrainingData(path, known.get("fingerprint"), kept)


def _open_data(
    named: Path | None, trained: TrainingData, tile: int, offset: "OffsetOption | None"
) -> "tuple[Dataset, str] | tuple[None, str]":
    from runtime.dataset import open_dataset

    path = named or trained.path
    if path is None:
        return None, "that of the training is gone or not known"
    usual = "auto" if named else trained.satellite_offset
    dataset = open_dataset(path, tile=tile, satellite_offset=offset or usual)
    why = "given" if named else "the data it was trained on"
    if named is None and dataset.fingerprint() != trained.fingerprint:
        why += ", whose files have changed since"
    return dataset, why


def eval_data(request: Request, trained: TrainingData, tile: int) -> "EvalData | None":
    """Open the patches that the FP32 bundle is measured on."""
    from exporter.accuracy import EvalData

    dataset, why = _open_data(request.eval_path, trained, tile, request.satellite_offset)
    if dataset is None:
        chosen("data", "none", f"{why}; give --eval to measure the bundle")
        return None
    split = only_split(dataset) or EVAL_SPLIT
    patches = len(dataset.ids(split))
    why = f"{why}; {min(patches, request.eval_patches)} of {patches} patches of {split}"
    chosen("data", dataset.root, why)
    return EvalData(dataset=dataset, split=split, limit=request.eval_patches)


def gate_data(request: Request, trained: TrainingData, source: "Bundle") -> "GateData | None":
    """Open the patches of the gate; there is nothing to learn from an unverified source."""
    from exporter.trial import GateData

    if not source.manifest.verified:
        chosen("gate", "none", "the FP32 bundle is not verified: " + source.manifest.verdict)
        return None
    dataset, why = _open_data(
        request.eval_path,
        trained,
        source.manifest.aerial.tile_size,
        request.satellite_offset,
    )
    if dataset is None:
        chosen("gate", "none", f"{why}; give --eval to measure the bundle")
        return None
    data = GateData(
        dataset=dataset,
        split=request.gate_split or only_split(dataset),
        areas=_listed(request.gate_areas),
        limit=request.eval_patches,
    )
    chosen("gate", dataset.root, why)
    return data


def calibration_data(
    request: Request, trained: TrainingData, source: "Bundle"
) -> "CalibrationData":
    """Open the samples that ranges are measured on.

    Raises:
        CalibrationError: If there is no data.
    """
    from exporter.calibrate import CalibrationData
    from runtime.errors import CalibrationError

    record = request.calibration_record
    tile = source.manifest.aerial.tile_size
    offset = request.satellite_offset
    dataset, why = _open_data(request.calibration, trained, tile, offset)
    if dataset is None:
        dataset, why = _open_data(request.eval_path, trained, tile, offset)
    if dataset is None:
        raise CalibrationError(
            f"there is no data to measure ranges on: {why}; expected paired samples; give "
            "--calibration DATA"
        )
    split = request.calibration_split or only_split(dataset) or CALIBRATION_SPLIT
    told = f"{why}; {request.calibration_samples} samples of {split}"
    chosen("calibration", dataset.root, f"the samples of {record}" if record else told)
    return CalibrationData(
        dataset=dataset,
        split=split,
        samples=request.calibration_samples,
        seed=request.seed,
        areas=_listed(request.calibration_areas),
        force=request.force_calibration,
        record=record,
    )


def only_split(dataset: "Dataset") -> str | None:
    """Name the only split of data that are in none of the usual ones, such as a scene."""
    names = list(dataset.splits)
    return names[0] if len(names) == 1 and names[0] not in USUAL_SPLITS else None


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(item.strip() for item in text.split(","))


def export_options(request: Request, segx_version: str) -> "ExportOptions":
    """Give the options of the FP32 export."""
    from exporter.options import ExportOptions

    options = ExportOptions(segx_version=segx_version)
    return replace(options, weights_licence=request.licence) if request.licence else options


def convert_options(request: Request, segx_version: str) -> "ConvertOptions":
    """Give the options of the conversion.

    Raises:
        ConfigError: If the plan cannot be read.
    """
    from exporter.options import ConvertOptions
    from exporter.plan import parse_plan

    return ConvertOptions(
        segx_version=segx_version,
        precision=request.precision,
        plan=None if request.plan in (None, AUTO) else parse_plan(request.plan),
        auto_plan=request.plan == AUTO,
        repair_s=60 * request.repair_minutes,
        weights_licence=request.licence,
        calibration_method=request.calibration_method,
        quantize_transposed=request.quantize_transposed,
        full_range_weights=request.full_range_weights,
    )


@contextmanager
def watching(task: str) -> "Iterator[Watch]":
    """Show progress bars for the steps of a task and for patches that are measured."""
    from exporter.watch import Watch

    with ExitStack() as bars:
        yield Watch(on_step=_bar(bars, task), on_patch=_bar(bars, "patches measured"))


def _bar(bars: ExitStack, name: str) -> "Advance":
    """Make a progress bar that takes the place of the one before when it first moves."""
    opened: list[Advance] = []

    def advance(done: int, total: int, note: str = "") -> None:
        if not opened:
            from .console import progress

            bars.close()
            opened.append(bars.enter_context(progress(name)))
        opened[0](done, total, note)

    return advance
