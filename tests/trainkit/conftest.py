"""A data set in memory and a config small enough to train within seconds."""

import datetime
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from runtime.classes import LandCoverClass
from runtime.datasets.flair import CLASSES
from runtime.errors import DataError
from runtime.sample import AERIAL_BANDS, Sample
from runtime.satellite import DatePolicy, SatelliteInput, SatelliteSpec
from trainkit.aerial_config import UNetFormerConfig
from trainkit.config import TrainConfig
from trainkit.joint_config import SatelliteBranchConfig
from trainkit.recipe import AugmentConfig, OptimConfig, TrainingConfig

SIDE = 512
OPTIM = OptimConfig(
    lr=1e-3, batch=2, crop_px=256, epochs=0, steps=4, checks=2, patience=0, loss_stride=4
)


@dataclass
class FakeDataset:
    """Random patches on a square raster of each area; every read is counted."""

    areas: dict[str, int] = field(default_factory=lambda: {"a": 2, "b": 2})
    """Patches along the side of each area; the last area is for validation."""
    root: Path = Path("fake")
    classes: tuple[LandCoverClass, ...] = CLASSES
    bands: tuple[str, ...] = AERIAL_BANDS
    licence: str = "made for tests"
    reads: list[str] = field(default_factory=list)
    labelled: bool = True
    side: int = SIDE

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        *train, val = self.areas
        return {
            "train": tuple(p for p, area in self.groups().items() if area in train),
            "val": tuple(p for p, area in self.groups().items() if area == val),
        }

    def ids(self, split: str) -> tuple[str, ...]:
        if split not in self.splits:
            raise DataError(f"no split {split}")
        return self.splits[split]

    def groups(self) -> dict[str, str]:
        return {
            f"{area}{row}{col}": area
            for area, side in self.areas.items()
            for row in range(side)
            for col in range(side)
        }

    def position(self, patch_id: str) -> tuple[float, float]:
        side_m = self.side * 0.2
        return side_m * int(patch_id[2]), -side_m * int(patch_id[1])

    def resolution_m(self, patch_id: str) -> float:
        return 0.2

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        self.reads.append(patch_id)
        rng = np.random.default_rng(list(patch_id.encode()))
        coarse = rng.integers(0, len(CLASSES), (8, 8), dtype=np.uint8)
        labels = coarse.repeat(self.side // 8, axis=0).repeat(self.side // 8, axis=1)
        aerial = rng.integers(0, 60, (5, self.side, self.side), dtype=np.uint8) + labels * 14
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=aerial.astype(np.uint8),
            satellite=None if satellite is None else self._series(satellite, rng),
            labels=labels if self.labelled else None,
        )

    def fingerprint(self) -> str:
        return "0" * 64

    def _series(self, spec: SatelliteSpec, rng: np.random.Generator) -> SatelliteInput:
        shape = (12, len(spec.bands), spec.window, spec.window)
        date_mask = np.ones(12, dtype=np.float32)
        date_mask[1] = 0.0
        series = rng.random(shape, dtype=np.float32) * date_mask[:, None, None, None]
        return SatelliteInput(
            series=series,
            date_mask=date_mask,
            days=DatePolicy().month_days(),
            dates_used=(datetime.date(2021, 5, 3),),
        )


@pytest.fixture
def dataset() -> FakeDataset:
    return FakeDataset()


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    return TrainConfig(
        name="tiny",
        seed=7,
        aerial=(
            UNetFormerConfig(
                encoder="resnet18",
                encoder_widths=(16, 24, 32, 48),
                encoder_depths=(1, 1, 1, 1),
                decoder_width=32,
            ),
        ),
        satellite=SatelliteBranchConfig(
            encoder_widths=(16, 16, 32, 32),
            decoder_widths=(16, 16, 32, 32),
            n_head=4,
            d_model=32,
            temporal_norm="masked",
        ),
        training=TrainingConfig(
            aerial=OPTIM,
            satellite=replace(OPTIM, ema=0.9),
            augment=AugmentConfig(brightness=0.1, date_dropout=0.1),
        ),
    )
