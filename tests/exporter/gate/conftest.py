"""A model of one band, a cell per pixel, whose satellite branch decides between two classes.

The aerial image shows class 0, and that a pixel is of class 1 or 2, but not which; the series shows
which of them it is, on most patches, and nothing of use on class 0. Class 3 is not scored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.gate import judge_gate
from exporter.gate_measure import Measured, measure_gate
from exporter.gate_report import Budgets, CandidateReport, Check, GateReport
from runtime.card import ModelCard
from runtime.classes import LandCoverClass
from runtime.manifest import AerialSpec, Normalization, PartSpec, TensorSpec
from runtime.model import TileModel
from runtime.sample import Sample
from runtime.satellite import SatelliteInput, SatelliteSpec

H, W = 24, 31
NAMES = ("water", "vineyard", "orchard", "other")
K = len(NAMES)
CLASSES = tuple(
    LandCoverClass(name=name, color="#000000", scored=name != "other") for name in NAMES
)
CARD = ModelCard(
    name="fake",
    sha256="0" * 64,
    verified=False,
    toy=True,
    aerial=AerialSpec(
        bands=("red",),
        resolution_m=0.2,
        tile_size=H,
        halo=0,
        stride=1,
        halo_exact=True,
        normalization=Normalization(mean=(0.0,), std=(1.0,)),
    ),
    satellite=SatelliteSpec(window=8),
    classes=CLASSES,
)

Change = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass
class FakeData:
    """Patches of blocks of classes; the series is wrong on the patches that are `misleading`."""

    count: int = 12
    misleading: frozenset[int] = frozenset({4})
    labelled: tuple[int, ...] = (0, 1, 2)
    root: Path = Path("fake-data")
    classes: tuple[LandCoverClass, ...] = CLASSES
    bands: tuple[str, ...] = ("red",)
    licence: str = "made for tests"

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        return {"val": tuple(f"p{i:03}" for i in range(self.count))}

    def ids(self, split: str) -> tuple[str, ...]:
        return self.splits[split]

    def groups(self) -> dict[str, str]:
        return dict.fromkeys(self.ids("val"), "area")

    def position(self, patch_id: str) -> tuple[float, float]:
        raise AssertionError("the gate measures where it is told to")

    def resolution_m(self, patch_id: str) -> float:
        return 0.2

    def fingerprint(self) -> str:
        return "f" * 64

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        number = int(patch_id[1:])
        blocks = np.random.default_rng(number).choice(self.labelled, (4, 5)).astype(np.uint8)
        known = blocks.repeat(6, axis=0).repeat(7, axis=1)[:H, :W]
        labels = known.copy()
        labels[:2] = 255
        which = 3 - known if number in self.misleading else known
        series = SatelliteInput(
            series=np.where(known > 0, which, 1 + np.arange(W) % 2).astype(np.float32)[None, None],
            date_mask=np.ones(1, np.float32),
            days=np.zeros(1, np.float32),
            dates_used=(),
        )
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=np.minimum(known, 1)[None],
            satellite=None if satellite is None else series,
            labels=labels,
        )


def _spec(name: str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("N",))


def _part(name: Any, inputs: tuple[str, ...], output: str) -> PartSpec:
    return PartSpec(
        name=name,
        role=name,
        file=f"{name}.onnx",
        precision="fp32",
        inputs=tuple(map(_spec, inputs)),
        outputs=(_spec(output),),
        variant="classes" if name == "fusion" else None,
    )


AERIAL = _part("aerial", ("aerial",), "aerial_logits")
SATELLITE = _part("satellite", ("satellite", "date_mask", "days"), "satellite_logits")
FUSION = _part("fusion", ("aerial_logits", "satellite_logits"), "classes")
FUSION_ALONE = _part("fusion", ("aerial_logits",), "classes")


def aerial_logits(feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Take what is not class 0 for class 1."""
    logits = np.zeros((1, K, H, W), np.float32)
    found = feed["aerial"][:, 0] > 0
    logits[:, 0], logits[:, 1], logits[:, 2] = ~found * 4.0, found * 3.0, found * 2.5
    return logits


def satellite_logits(feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Take every pixel for what the series says."""
    logits = np.zeros((1, K, H, W), np.float32)
    for index in (1, 2):
        logits[:, index] = feed["satellite"][:, 0, 0] == index
    return logits


def fuse(feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Add all logits and take the winner."""
    total: NDArray[Any] = np.stack(list(feed.values())).sum(axis=0)
    winner: NDArray[Any] = total.argmax(axis=1).astype(np.uint8)
    return winner


COMPUTE = {"aerial": aerial_logits, "satellite": satellite_logits, "fusion": fuse}


@dataclass
class FakeSession:
    """A part; its output is overwritten by the next call, as with OpenVINO."""

    part: PartSpec
    change: Change = field(default=lambda values: values)
    inputs: tuple[TensorSpec, ...] = ()
    precision: Any = "fp32"
    runs: int = 0
    result: NDArray[Any] | None = None

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        assert set(feed) == {item.name for item in self.part.inputs}
        self.runs += 1
        found = self.change(COMPUTE[self.part.name](feed))
        if self.result is None:
            self.result = np.empty_like(found)
        self.result[...] = found
        name = self.part.outputs[0].name
        more = {"confidence": self.result} if name == "classes" else {}
        return {name: self.result, **more}

    def close(self) -> None:
        raise AssertionError("the gate closes nothing that it did not open")


class Gate:
    """What the tests of the gate are made of."""

    card = CARD
    data = FakeData
    names = NAMES
    wide = Budgets(miou_loss=100.0)
    """Budgets that leave the gain to decide."""

    def model(self, **changes: Change) -> TileModel:
        """Make a model; what a part gives may be changed: `model(satellite=np.zeros_like)`."""
        parts = (AERIAL, SATELLITE, FUSION)
        sessions = (
            FakeSession(part, changes.get(part.name, lambda values: values)) for part in parts
        )
        return TileModel(parts=parts, sessions=tuple(sessions))

    def aerial_model(self) -> TileModel:
        """Make a model without a satellite branch."""
        parts = (AERIAL, FUSION_ALONE)
        return TileModel(parts=parts, sessions=tuple(map(FakeSession, parts)))

    def measured(
        self,
        candidate: TileModel | None = None,
        data: FakeData | None = None,
        *,
        reference: TileModel | None = None,
    ) -> Measured:
        """Compare a candidate with the whole model on all patches."""
        dataset, found = data or FakeData(), {"it": candidate or self.model()}
        return measure_gate(
            reference or self.model(), found, CARD, dataset, dataset.ids("val"), split="val"
        )

    def judged(
        self,
        candidate: TileModel | None = None,
        data: FakeData | None = None,
        *,
        precision: Any = "int8",
        budgets: Budgets | None = None,
    ) -> tuple[GateReport, CandidateReport]:
        """Compare and judge."""
        report = judge_gate(self.measured(candidate, data), precision, budgets)
        return report, report.candidates[0]

    def swap(self, classes: NDArray[Any]) -> NDArray[Any]:
        """Draw every third orchard pixel as water."""
        every_third = np.arange(classes.size).reshape(classes.shape) % 3 == 0
        return np.where((classes == 2) & every_third, 0, classes).astype(np.uint8)

    def missed(self, candidate: CandidateReport) -> list[str]:
        """Names of the checks that did not pass."""
        return [check.name for check in candidate.checks if check.passed is False]

    def check(self, candidate: CandidateReport, name: str) -> Check:
        """Find a check."""
        (found,) = (check for check in candidate.checks if check.name == name)
        return found

    def runs(self, model: TileModel) -> list[int]:
        """How often each part has run."""
        return [s.runs for s in model.sessions if isinstance(s, FakeSession)]


@pytest.fixture
def gate() -> Gate:
    """What the tests of the gate are made of."""
    return Gate()
