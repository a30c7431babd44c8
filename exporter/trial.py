"""Put converted parts to the test: their emulation and a backend, against the FP32 bundle."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.backends import BackendChoice
from runtime.bundle import Bundle
from runtime.dataset import Dataset, check_dataset_fit
from runtime.evaluate import OnPatch, spread
from runtime.manifest import Accuracy
from runtime.model import TileModel, open_model

from .gate import judge_gate
from .gate_blame import Blame, which_part
from .gate_measure import Measured, measure_gate
from .gate_report import GateReport
from .gate_split import GateSplit, gate_split
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
        self, parts: Sequence[ConvertedPart], options: ConvertOptions, on_patch: OnPatch
    ) -> TrialReport:
        """Give the verdict, on the patches that nothing was chosen on.

        Raises:
            DataError: If a patch is damaged or has no labels.
        """
        ids = spread(self.split.ids, self.data.limit)
        measured, report, models = self._measure(parts, options, ids, self.split.name, on_patch)
        missed = next((item.name for item in report.candidates if not item.passed), None)
        blame = None
        if missed is not None:
            opened = (self.reference, models[missed])
            blame = which_part(
                report, missed, opened, self.source.card, self.data.dataset, on_patch=on_patch
            )
        return TrialReport(gate=report, blame=blame, accuracy=self._accuracy(measured))

    def search(self, parts: Sequence[ConvertedPart], options: ConvertOptions) -> GateReport:
        """Look at how a plan does, on the patches that a search may look at.

        Raises:
            DataError: If there are none, or a patch is damaged or has no labels.
        """
        ids = spread(self.split.search_ids, self.data.limit)
        return self._measure(parts, options, ids, "search", lambda done, total: None)[1]

    def _measure(
        self,
        parts: Sequence[ConvertedPart],
        options: ConvertOptions,
        ids: Sequence[str],
        split: str,
        on_patch: OnPatch,
    ) -> tuple[Measured, GateReport, dict[str, TileModel]]:
        models = {
            EMULATED: open_emulation(parts, options.precision),
            self.choice.name: open_converted(parts, self.choice),
        }
        measured = measure_gate(
            self.reference,
            models,
            self.source.card,
            self.data.dataset,
            ids,
            split=split,
            on_patch=on_patch,
        )
        return measured, judge_gate(measured, options.precision, options.budgets), models

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
        DataError: If there are too few patches.
        GridError: If its aerial resolution is another one.
    """
    split = gate_split(data.dataset, data.split, data.areas)
    check_dataset_fit(data.dataset, source.card, split.ids)
    return Trial(
        source=source, reference=open_model(source, choice), data=data, split=split, choice=choice
    )
