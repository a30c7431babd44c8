"""Choose and check the samples that a conversion measures ranges on."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.pairs import Pairs, check_pairs
from calibration.record import (
    Basis,
    Record,
    load_record,
    preprocessing_hash,
    require_fresh,
)
from calibration.selection import MEASURED_SPLITS, choose
from runtime.bundle import Bundle
from runtime.card import ModelCard
from runtime.dataset import Dataset, check_dataset_fit
from runtime.datasets.splits import Split
from runtime.errors import CalibrationError
from runtime.evaluate import spread

from .describe import versions
from .options import ConvertOptions

MEASURING = ("nvidia-modelopt", "onnxruntime", "onnx", "numpy")
"""Libraries that ranges depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationData:
    """Where calibration samples come from."""

    dataset: Dataset
    split: Split = "train"
    samples: int = 64
    """Samples wanted."""
    seed: int = 0
    areas: tuple[str, ...] | None = None
    """Areas to choose from; all if None."""
    force: bool = False
    """Take patches that scores are reported on all the same."""
    record: Path | None = None
    """A `calibration.json` whose samples are taken again, if it still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Samples that were chosen and checked."""

    record: Record
    dataset: Dataset
    card: ModelCard

    def pairs(self, limit: int | None = None) -> Pairs:
        """Read their inputs one after the other; of at most `limit`, evenly spread."""
        return Pairs(self.dataset, spread(self.record.selection.ids, limit), self.card)


def calibrate(
    data: CalibrationData, source: Bundle, options: ConvertOptions, evaluated: Collection[str]
) -> Calibration:
    """Choose samples, check that they are not blank and that their inputs belong together.

    Args:
        data: Where they come from.
        source: The FP32 bundle.
        options: How it is converted.
        evaluated: Patches that the gate measures.

    Raises:
        CalibrationError: If samples are reserved for the gate, blank, or not pairs, or if a record
            to be used again was edited or is stale.
        DataError: If the data is damaged, or does not fit the bundle.
    """
    card = source.card
    if data.record is not None:
        return _again(load_record(data.record), data, source, options, evaluated)
    _check_fit(data, card)
    selection = choose(
        data.dataset,
        data.split,
        count=data.samples,
        seed=data.seed,
        satellite=card.satellite,
        areas=data.areas,
        evaluated=evaluated,
        force=data.force,
    )
    record = Record(
        basis=_basis(data.dataset, selection.ids, source, options),
        selection=selection,
        method=options.calibration_method,
        pairs=check_pairs(data.dataset, selection.ids, card),
        versions=versions(MEASURING),
    )
    return Calibration(record=record, dataset=data.dataset, card=card)


def _check_fit(data: CalibrationData, card: ModelCard) -> None:
    """Check that the areas to choose from fit the model; no patch is read for that."""
    groups = data.dataset.groups()
    ids = data.dataset.ids(data.split)
    pool = [patch_id for patch_id in ids if data.areas is None or groups[patch_id] in data.areas]
    check_dataset_fit(data.dataset, card, pool)


def _again(
    record: Record,
    data: CalibrationData,
    source: Bundle,
    options: ConvertOptions,
    evaluated: Collection[str],
) -> Calibration:
    ids = record.selection.ids
    reserved = set(evaluated).union(
        *(data.dataset.splits.get(split, ()) for split in MEASURED_SPLITS)
    )
    measured = sorted(set(ids) & reserved)
    if measured and not data.force:
        raise CalibrationError(
            f"{data.record} names {len(measured)} patches that scores are reported on (first: "
            f"{measured[0]}); expected none; calibrate again, or force it"
        )
    require_fresh(record, _basis(data.dataset, ids, source, options), where=str(data.record))
    # The samples are taken again; how ranges follow from them is said anew.
    again = replace(record, method=options.calibration_method, versions=versions(MEASURING))
    return Calibration(record=again, dataset=data.dataset, card=source.card)


def _basis(
    dataset: Dataset, ids: tuple[str, ...], source: Bundle, options: ConvertOptions
) -> Basis:
    # Of a record whose data has changed the first patch may have gone: then its hash is empty.
    known = set(dataset.groups())
    first = [patch_id for patch_id in ids[:1] if patch_id in known]
    feeds = list(Pairs(dataset, first, source.card))
    return Basis(
        fingerprint=dataset.fingerprint(),
        preprocessing=preprocessing_hash(source.card, feeds[0][1]) if feeds else "",
        sources={part.name: source.manifest.files[part.file] for part in source.manifest.parts},
        segx_version=options.segx_version,
    )
