"""Put converted parts to the test: their emulation and a backend, against the FP32 bundle."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from runtime.backends import BackendChoice
from runtime.bundle import Bundle
from runtime.dataset import Dataset, check_dataset_fit
from runtime.errors import DataError
from runtime.evaluate import OnPatch, check_classes, spread
from runtime.manifest import Accuracy
from runtime.model import TileModel, open_model

from .feeds import FeedStore
from .gate import judge_gate
from .gate_blame import Blame, which_part, with_nodes
from .gate_measure import Measured, measure_gate
from .gate_report import GateReport
from .gate_split import GateSplit, gate_split
from .node_errors import SAMPLES, measure_errors
from .options import ConvertOptions
from .workshop import EMULATED, ConvertedPart, open_converted, open_emulation


@dataclass(frozen=True, slots=True, kw_only=True)
class GateData:
    """Patches with labels to measure on."""

    dataset: Dataset
    split: str | None = None
    """Split for the verdict; `test` where there is one, else a third of `val`, if None."""
    areas: tuple[str, ...] | None = None
    """Areas to measure on; all if None."""
    limit: int | None = None
    """Patches at most, evenly spread, for the verdict and for a search each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """What a gate found, and which part is to blame."""

    gate: GateReport
    blame: Blame | None
    """None if the gate is passed."""
    accuracy: Accuracy
    """Of the parts as the backend runs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An FP32 bundle, opened, and the patches to compare others with it on."""

    source: Bundle
    reference: TileModel
    data: GateData
    split: GateSplit
    choice: BackendChoice

    def judge(
        self,
        parts: Sequence[ConvertedPart],
        options: ConvertOptions,
        store: FeedStore,
        on_patch: OnPatch,
    ) -> TrialReport:
        """Give the verdict, on the patches that nothing was chosen on.

        Args:
            parts: All parts.
            options: What they may cost.
            store: Gives inputs to measure nodes on, if the budgets are missed.
            on_patch: Called after every patch.

        Raises:
            DataError: If a patch is damaged or has no labels.
        """
        ids = spread(self.split.ids, self.data.limit)
        with self._opened(parts, options) as models:
            measured, report = self._measure(models, options, ids, self.split.name, on_patch)
            missed = next((item.name for item in report.candidates if not item.passed), None)
            blame = None
            if missed is not None:
                opened = (self.reference, models[missed])
                blame = which_part(
                    report, missed, opened, self.source.card, self.data.dataset, on_patch=on_patch
                )
        if blame is not None:
            # That a backend computes in BF16 is no node's doing.
            owed = [p for p in parts if missed == EMULATED or p.spec.precision == "int8"]
            blame = self._with_nodes(blame, owed, store)
        return TrialReport(gate=report, blame=blame, accuracy=self._accuracy(measured))

    def search(self, parts: Sequence[ConvertedPart], options: ConvertOptions) -> GateReport:
        """Look at how a plan does, on the patches that a search may look at.

        Raises:
            DataError: If there are none, or a patch is damaged or has no labels.
        """
        ids = spread(self.split.search_ids, self.data.limit)
        with self._opened(parts, options) as models:
            return self._measure(models, options, ids, "search", lambda done, total: None)[1]

    @contextmanager
    def _opened(
        self, parts: Sequence[ConvertedPart], options: ConvertOptions
    ) -> Iterator[dict[str, TileModel]]:
        """Open parts in both ways, by the name of the candidate."""
        with ExitStack() as stack:
            emulation = stack.enter_context(closing(open_emulation(parts, options.precision)))
            converted = stack.enter_context(closing(open_converted(parts, self.choice)))
            yield {EMULATED: emulation, self.choice.name: converted}

    def _with_nodes(self, blame: Blame, parts: Sequence[ConvertedPart], store: FeedStore) -> Blame:
        """Measure the nodes of the part to look at first: one that brings the model back."""
        converted = {part.spec.name: part for part in parts if part.spec.precision != "fp32"}
        likely = sorted(blame.twins, key=lambda twin: not twin.passed)
        name = next((twin.part for twin in likely if twin.part in converted), None)
        if name is None:
            return blame
        part = converted[name]
        feeds = store.feeds("calibration", part.spec, SAMPLES)
        errors = measure_errors(self.source.file(part.spec), part.emulation, feeds)
        return with_nodes(blame, name, errors)

    def _measure(
        self,
        models: Mapping[str, TileModel],
        options: ConvertOptions,
        ids: Sequence[str],
        split: str,
        on_patch: OnPatch,
    ) -> tuple[Measured, GateReport]:
        measured = measure_gate(
            self.reference,
            models,
            self.source.card,
            self.data.dataset,
            ids,
            split=split,
            on_patch=on_patch,
        )
        return measured, judge_gate(measured, options.precision, options.budgets)

    def _accuracy(self, measured: Measured) -> Accuracy:
        found = measured.candidates[self.choice.name]
        scores = found.scores(measured.classes)
        return Accuracy(
            dataset=measured.dataset,
            split=measured.split,
            patches=len(measured.ids),
            miou=scores.miou,
            accuracy=scores.accuracy,
            scored_classes=scores.scored_classes,
            iou={item.name: item.iou for item in scores.classes if item.scored},
            reference_miou=measured.reference.scores(measured.classes).miou,
            executed=f"{self.choice.name} {measured.executed[self.choice.name]}",
        )


def open_trial(source: Bundle, data: GateData, choice: BackendChoice) -> Trial:
    """Choose the patches and open the FP32 bundle.

    Raises:
        BandError: If the data lacks an aerial band.
        DataError: If there are too few patches, or they have other classes or no labels.
        GridError: If its aerial resolution is another one.
    """
    split = gate_split(data.dataset, data.split, data.areas)
    check_classes(source.card.classes, data.dataset.classes, str(data.dataset.root))
    check_dataset_fit(data.dataset, source.card, split.ids)
    _check_labels(data.dataset, (*split.ids, *split.search_ids))
    return Trial(
        source=source, reference=open_model(source, choice), data=data, split=split, choice=choice
    )


def _check_labels(dataset: Dataset, ids: Sequence[str]) -> None:
    """Look at one patch of each area before hours are spent on what cannot be judged."""
    groups = dataset.groups()
    for patch_id in {groups[patch_id]: patch_id for patch_id in ids}.values():
        if dataset.read(patch_id, None).labels is None:
            raise DataError(
                f"{dataset.root} has no labels for {patch_id}; expected labels of every patch that "
                "the gate measures; name a labelled --gate-split"
            )
