"""Turn an FP32 bundle into one of FP16 or INT8, and prove what it costs.

    FP32 bundle -> calibration       samples chosen, checked to be pairs, inputs of every part
                -> plan              a precision for every branch; what misses the gate is repaired
                -> parity            FP32, emulation, backends, on the same samples
                -> gate              accuracy and gain from fusion, on patches nothing was chosen on
                -> manifest          last; then the folder gets its name

PyTorch is not asked again: one FP32 bundle gives every other precision.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.pairs import Feed
from calibration.record import RECORD_NAME, Record, write
from runtime.backends import choose_backend
from runtime.bundle import SUFFIX, Bundle
from runtime.drift import InputRanges, RangesBuilder
from runtime.errors import BundleError
from runtime.jsonfile import plain, write_json

from .accuracy import Verdict
from .attempts import Found
from .calibrate import Calibration, CalibrationData, calibrate
from .describe_converted import Findings, describe_converted
from .feeds import FeedStore
from .gate_report import GateReport
from .merge_graph import is_merged
from .options import ConvertOptions
from .package import check_target, hashes, publish, staging, write_evidence
from .parity import Ledger
from .plan import make_plan
from .plan_search import find_plan
from .precision_stages import check_converted, prove_executed
from .stages import Checked
from .trial import GateData, Trial, open_trial
from .watch import SILENT, Steps, Watch
from .workshop import ConvertedPart, Workshop

GATE_NAME = "gate.json"
RANGES_NAME = "ranges.json"
"""Largest magnitude of every FP16 tensor, on calibration samples and under stress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A bundle and what was found on the way."""

    bundle: Bundle
    parts: tuple[ConvertedPart, ...]
    search: Found
    """The plan, and what was tried for it."""
    record: Record
    ledger: Ledger
    gate: GateReport | None
    """None where there was nothing to measure on."""
    verdict: Verdict


def convert(
    source: Bundle,
    out: Path,
    options: ConvertOptions,
    *,
    calibration: CalibrationData,
    gate: GateData | None = None,
    watch: Watch = SILENT,
) -> Converted:
    """Write the bundle of another precision.

    Args:
        source: The FP32 bundle.
        out: The new bundle's folder, `NAME.segx`. A bundle that is there is replaced at the very
            end.
        options: How to convert.
        calibration: Where samples come from.
        gate: Patches for the gate; without them the bundle is not verified.
        watch: What to tell.

    Raises:
        BundleError: If `out` cannot be a bundle, the source is not FP32, or a converted graph
            breaks a rule or has another precision than was asked for.
        CalibrationError: If the samples are not fit for it.
        ParityError: If two stages differ by more than their tolerance.
        DataError: If the data is damaged, has no labels, or other classes.
    """
    check_target(out)
    check_source(source, out)
    with staging(out) as folder, tempfile.TemporaryDirectory(prefix="segx-convert-") as scratch:
        trial = None if gate is None else open_trial(source, gate, choose_backend())
        chosen = calibrate(calibration, source, options, _evaluated(trial, calibration))
        step = Steps(watch, len(source.manifest.parts) + 4)
        step("calibration samples chosen")
        workshop, ranges = _prepare(source, chosen, Path(scratch), options)
        step("inputs of every part stored")
        plan = make_plan(source.manifest.parts, options.precision, options.plan)
        search = find_plan(workshop, trial, plan, options, step.extra)
        options = replace(options, precision=search.precision)
        parts = workshop.convert(search.plan, on_part=step)
        computed = prove_executed(parts)
        feeds = _parity_feeds(chosen, source, options.parity_samples)
        checked = check_converted(source, parts, feeds, options.precision)
        step("stages compared")
        report = None
        if trial is not None:
            report = trial.judge(parts, options, workshop.store, watch.on_patch)
        findings = Findings(
            name=out.name.removesuffix(SUFFIX),
            options=options,
            parts=parts,
            search=search,
            computed=computed,
            input_ranges=ranges,
            trial=report,
        )
        record = _write(folder, findings, checked, chosen.record)
        bundle = publish(folder, describe_converted(source, findings, hashes(folder)), out)
        step("bundle written")
    return Converted(
        bundle=bundle,
        parts=parts,
        search=search,
        record=record,
        ledger=checked.ledger,
        gate=None if report is None else report.gate,
        verdict=findings.verdict(source),
    )


def check_source(source: Bundle, out: Path) -> None:
    """Refuse a bundle that cannot be converted, before data are looked for.

    Raises:
        BundleError: If it is not in FP32, is merged, or lies where the new one goes.
    """
    if source.manifest.precision != "fp32":
        raise BundleError(
            f"{source.path} is a bundle in {source.manifest.precision}; expected one in fp32 to "
            "convert; name the FP32 bundle or the checkpoint"
        )
    if is_merged(source.manifest.parts):
        raise BundleError(
            f"{source.path} is merged into one graph; expected a bundle of several parts, of which "
            "each is converted by itself; "
            + (
                "import an ONNX file that can be split between its inputs, or stay with fp32"
                if source.manifest.model.imported
                else "convert the bundle that it was merged from"
            )
        )
    if out.resolve() == source.path.resolve():
        raise BundleError(
            f"{out} is the bundle that is converted; expected another name; change --out"
        )


def _evaluated(trial: Trial | None, calibration: CalibrationData) -> tuple[str, ...]:
    """Patches of the gate, if the samples come from the same data; ids mean nothing elsewhere."""
    if trial is None:
        return ()
    same = trial.data.dataset.fingerprint() == calibration.dataset.fingerprint()
    return trial.split.ids if same else ()


def _prepare(
    source: Bundle, chosen: Calibration, scratch: Path, options: ConvertOptions
) -> tuple[Workshop, InputRanges]:
    """Store the inputs of every part, and measure where the means of the tiles lie."""
    builder = RangesBuilder()

    def measured() -> Iterator[tuple[str, Feed]]:
        for sample, feed in chosen.pairs():
            builder.add(feed)
            yield sample, feed

    store = FeedStore(source, scratch / "feeds")
    store.fill(measured())
    graphs = scratch / "graphs"
    graphs.mkdir()
    workshop = Workshop(source=source, store=store, folder=graphs, options=options)
    return workshop, builder.finish(source.card)


def _parity_feeds(chosen: Calibration, source: Bundle, count: int) -> dict[str, Feed]:
    """Take calibration samples, evenly spread, with the inputs that the model has."""
    taken = {spec.name for part in source.manifest.parts for spec in part.inputs}
    found = {}
    for sample, feed in chosen.pairs(count):
        found[sample] = {name: array for name, array in feed.items() if name in taken}
    return found


def _write(folder: Path, findings: Findings, checked: Checked, record: Record) -> Record:
    """Write everything but the manifest; gives the record with its digest."""
    for part in findings.parts:
        shutil.copyfile(part.path, folder / part.spec.file)
    write_evidence(folder, checked.ledger, checked.feed, checked.outputs)
    write_json(folder / RANGES_NAME, {part.spec.name: part.ranges for part in findings.parts})
    trial = findings.trial
    if trial is not None:
        write_json(folder / GATE_NAME, plain(trial.gate) | {"blame": plain(trial.blame)})
    return write(folder / RECORD_NAME, record)
