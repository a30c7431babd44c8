"""Convert the parts of an FP32 bundle by a plan, and open what came of it in two ways.

    FP32 graph --> ranges on samples and under stress --> nodes to keep in FP32
               --> INT8 Q/DQ, FP16 around it          --> rules, share of MACs as asked
               --> the graph of the bundle, and its emulation, which shows what FP16 does

A part is converted once for each recipe, however often a search asks for it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from runtime.backends import BackendChoice, open_session
from runtime.bundle import Bundle
from runtime.manifest import PartSpec, Precision
from runtime.model import TileModel
from runtime.onnxruntime_session import OnnxRuntimeSession

from .emulate import emulate
from .feeds import FeedStore
from .fp32_nodes import keep_in_fp32
from .int8_nodes import keep_from_int8
from .lint import allowed_rules, require_clean
from .options import ConvertOptions
from .plan import Plan, Recipe, branch_of
from .proof import MacShares, mac_shares, require_precision, work_shares
from .quantize import Int8Choices, WorkerReport, to_fp16, to_int8
from .ranges import RangeReport, TensorRange, measure_ranges, range_report, unite

RANGE_SAMPLES = 16
"""Calibration samples that ranges of FP16 are measured on at most, evenly spread, beside the
stress."""

EMULATED = "emulation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Ranges of a part's FP32 tensors, by tensor."""

    data: Mapping[str, TensorRange]
    stress: Mapping[str, TensorRange]
    samples: int
    """Calibration samples that `data` comes from."""

    @property
    def all(self) -> Mapping[str, TensorRange]:
        """Both, united."""
        return unite(self.data, self.stress)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedPart:
    """One part, converted."""

    spec: PartSpec
    """As the new manifest has it."""
    path: Path
    emulation: Path
    kept: Mapping[str, str]
    """Why nodes stay in FP32, by node."""
    shares: MacShares
    ranges: RangeReport | None
    """How far its FP16 tensors stay from overflowing; None for a part in FP32."""
    worker: WorkerReport | None
    """None for a part that stays as it is."""


@dataclass(slots=True)
class Workshop:
    """Converts parts, and remembers what it made.

    Args:
        source: The FP32 bundle.
        store: Inputs of its parts.
        folder: Where graphs go; they stay until the folder is removed.
        options: How to convert.
        range_rule: Whether measured ranges say what stays in FP32; without, only what kind a node
            is and its constants, and `repair` is what finds the rest.
    """

    source: Bundle
    store: FeedStore
    folder: Path
    options: ConvertOptions
    range_rule: bool = True
    _ranges: dict[str, Ranges] = field(default_factory=dict)
    _made: dict[tuple[str, Recipe], ConvertedPart] = field(default_factory=dict)

    def convert(
        self, plan: Plan, on_part: Callable[[str], None] = lambda note: None
    ) -> tuple[ConvertedPart, ...]:
        """Convert every part by the recipe of its branch.

        Args:
            plan: Recipe of every branch.
            on_part: Called after every part, with what was done.

        Raises:
            BundleError: If a conversion fails, breaks a rule, or gives another precision than was
                asked for.
        """
        made = []
        for spec in self.source.manifest.parts:
            recipe = plan[branch_of(spec)]
            made.append(self.part(spec, recipe))
            on_part(f"{spec.file} in {recipe.precision}")
        return tuple(made)

    def part(self, spec: PartSpec, recipe: Recipe) -> ConvertedPart:
        """Convert one part; see `convert`."""
        key = (spec.name, recipe)
        if key not in self._made:
            self._made[key] = self._convert(spec, recipe, f"{len(self._made):04}-{spec.name}")
        return self._made[key]

    def ranges(self, spec: PartSpec) -> Ranges:
        """Measure the tensors of an FP32 part, once."""
        if spec.name not in self._ranges:
            path = self.source.file(spec)
            self._ranges[spec.name] = Ranges(
                data=measure_ranges(path, self.store.feeds("calibration", spec, RANGE_SAMPLES)),
                stress=measure_ranges(path, self.store.feeds("stress", spec)),
                samples=min(self.store.count("calibration", spec), RANGE_SAMPLES),
            )
        return self._ranges[spec.name]

    def _convert(self, spec: PartSpec, recipe: Recipe, stem: str) -> ConvertedPart:
        source = self.source.file(spec)
        made = replace(spec, precision=recipe.precision)
        if recipe.precision == "fp32":
            shares = mac_shares(onnx.load(source))
            return ConvertedPart(
                spec=made,
                path=source,
                emulation=source,
                kept={},
                shares=shares,
                ranges=None,
                worker=None,
            )
        target = self.folder / f"{stem}.onnx"
        full = onnx.load(source)
        ranges = self.ranges(spec)
        kept = keep_in_fp32(full, ranges.all if self.range_rule else {})
        names = {node.name for node in full.graph.node}
        kept = kept | dict.fromkeys(recipe.keep & names, "the gate asks for it")
        skipped = {**keep_from_int8(full, work_shares(full)), **dict.fromkeys(recipe.skip & names)}
        worker = self._run_worker(source, target, spec, recipe.precision, skipped, kept)
        model = onnx.load(target)
        # First, because its advice is for conversions.
        shares = require_precision(model, recipe.precision, spec.name)
        require_clean(
            model,
            made,
            transposed=self.options.quantize_transposed,
            allowed=allowed_rules(self.source.manifest),
        )
        emulation = self.folder / f"{stem}.emulation.onnx"
        onnx.save(emulate(model), emulation)
        return ConvertedPart(
            spec=made,
            path=target,
            emulation=emulation,
            kept=kept,
            shares=shares,
            ranges=range_report(model, ranges.data, ranges.stress, samples=ranges.samples),
            worker=worker,
        )

    def _run_worker(
        self,
        source: Path,
        target: Path,
        spec: PartSpec,
        precision: Precision,
        skipped: Collection[str],
        kept: Collection[str],
    ) -> WorkerReport:
        if precision == "fp16":
            return to_fp16(source, target, keep=kept)
        choices = Int8Choices(
            method=self.options.calibration_method,
            transposed=self.options.quantize_transposed,
            full_range=self.options.full_range_weights,
        )
        samples = self.store.folder(spec)
        return to_int8(source, target, samples=samples, choices=choices, skip=skipped, keep=kept)


@dataclass
class EmulatedModel(TileModel):
    """Emulations of the parts of a model, run by ONNX Runtime."""

    asked: Precision = "fp16"

    @property
    def precision(self) -> str:
        """What is emulated."""
        return f"{self.asked} emulated"


def open_emulation(parts: Sequence[ConvertedPart], precision: Precision) -> EmulatedModel:
    """Open the emulations of the parts that end in the class map."""
    used = [part for part in parts if part.spec.variant != "probabilities"]
    specs = tuple(replace(part.spec, precision="fp32") for part in used)
    sessions = tuple(
        OnnxRuntimeSession(part.emulation, spec, batch=1, threads=None)
        for part, spec in zip(used, specs, strict=True)
    )
    return EmulatedModel(parts=specs, sessions=sessions, asked=precision)


def open_converted(parts: Sequence[ConvertedPart], choice: BackendChoice) -> TileModel:
    """Open the parts that end in the class map as the bundle will have them."""
    used = [part for part in parts if part.spec.variant != "probabilities"]
    return TileModel(
        parts=tuple(part.spec for part in used),
        sessions=tuple(open_session(choice.name, part.path, part.spec) for part in used),
    )
